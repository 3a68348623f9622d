"""Write a corpus as tar shards, for training from one large file after the other.

    python recipes/shard.py --manifest data/train-clean-100.jsonl --manifest data/train-clean-360.jsonl -o shards/
    python recipes/shard.py --manifest data/train.jsonl -o shards/ --format opus --shard-mb 1000 --threads 16

Run again after a kill or on a full disk that has room again, it goes on where it stopped. Train with
``data.shards=[shards/]`` in place of ``data.train``. ``docs/scale.md`` has the layout and the sizes.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run
from codec.cli.console import console, say
from codec.errors import CodecError

app = typer.Typer(add_completion=False)


@app.command()
def main(
    manifest: Annotated[list[Path], typer.Option(help="JSON lines, one utterance a line; may be given again.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the shards.")],
    format_: Annotated[str, typer.Option("--format", help="flac (lossless) or opus.")] = "flac",
    shard_mb: Annotated[float, typer.Option(min=0.001, help="Size at which a shard ends, 10^6 bytes.")] = 500,
    prefix: Annotated[str, typer.Option(help="Name of the shards.")] = "train",
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which the utterances are stored.")] = 0,
    keep_order: Annotated[bool, typer.Option("--keep-order", help="Store in the order of the manifests.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="That encode audio.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop the shards in OUTPUT and begin again.")] = False,
) -> None:
    """Store every utterance of the manifests; exit code 2 if some could not be read."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from codec.manifest import read_manifest
    from codec.tarshards.encoding import OPUS_RATES
    from codec.tarshards.writing import Options, write_shards

    utterances = [utterance for path in manifest for utterance in read_manifest(path)]
    # Said once, below. Not once for every file.
    logging.getLogger("codec.audio").setLevel(logging.WARNING)
    rates = Counter(item.sample_rate for item in utterances)
    other = {rate: count for rate, count in sorted(rates.items()) if format_ == "opus" and rate not in OPUS_RATES}
    if other:
        found = ", ".join(f"{count} at {rate} Hz" for rate, count in other.items())
        say("", f"resampled to a rate that Opus has: {found} of {len(utterances)} utterances")
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        task = bars.add_task("writing", total=sum(item.duration_s for item in utterances))
        options = Options(format_, shard_mb, prefix, None if keep_order else seed, threads)
        finished = write_shards(
            utterances, output, options, overwrite=overwrite, progress=lambda seconds: bars.advance(task, seconds)
        )
    hours, num_bytes = sum(shard.hours for shard in finished), sum(shard.num_bytes for shard in finished)
    rate = f", {8 * num_bytes / hours / 3.6e6:.1f} kbit/s" if hours else ""
    print(
        f"{output}: {sum(shard.utterances for shard in finished)} utterances, {hours:.2f} h in {len(finished)} shards, "
        f"{num_bytes / 1e6:.1f} MB{rate}"
    )
    failed = [failure for shard in finished for failure in shard.failed]
    for failure in failed:
        say("error", f"{failure['id']}: {failure['reason']}", "bold red")
    if failed:
        raise CodecError(f"{len(failed)} utterances could not be stored; mend them and run the same again")


if __name__ == "__main__":
    run(app)
