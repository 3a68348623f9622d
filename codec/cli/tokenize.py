"""The command behind ``recipes/tokenize.py``."""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import console, say
from codec.errors import CodecError

LONGEST_WAIT = datetime.timedelta(days=1)  # of a process for the others, whose share may be the longest
logger = logging.getLogger(__name__)
app = typer.Typer(add_completion=False)


@app.command()
def main(
    manifest: Annotated[list[Path], typer.Option(help="JSON lines, one utterance a line; may be given again.")],
    model: Annotated[str, typer.Option(metavar="DIR", help="Folder of the trained model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the dataset.")],
    format_: Annotated[str, typer.Option("--format", help="webdataset, parquet, npy or jsonl.")] = "parquet",
    shard_hours: Annotated[float, typer.Option(min=0.001, help="Speech in a shard, which one process makes.")] = 1.0,
    batch_s: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds encoded at once; default: 20 on CPUs, 400 on accelerators.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of each process, to read audio.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop the tokens in OUTPUT and begin again.")] = False,
) -> None:
    """Encode every utterance of the manifests; exit code 2 if some could not be read."""
    from accelerate import PartialState
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from codec import Codec
    from codec.devices import on_cpu
    from codec.manifest import read_manifest
    from codec.tokenstore.encoding import default_batch_s
    from codec.tokenstore.formats import find_format
    from codec.tokenstore.tokenizing import Options, tokenize

    find_format(format_)
    utterances = [utterance for path in manifest for utterance in read_manifest(path)]
    state = PartialState(cpu=on_cpu(), timeout=LONGEST_WAIT)
    codec = Codec.from_pretrained(model, state.device)
    # Said once, below. Not once for every file.
    logging.getLogger("codec.audio").setLevel(logging.WARNING)
    rates = Counter(item.sample_rate for item in utterances if item.sample_rate != codec.sample_rate)
    if rates and state.is_main_process:
        found = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(rates.items()))
        logger.info("resampled to %d Hz: %s of %d utterances", codec.sample_rate, found, len(utterances))
    total_s = sum(utterance.duration_s for utterance in utterances) / state.num_processes
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    done_s, started = 0.0, time.perf_counter()
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not state.is_main_process) as bars:
        task = bars.add_task("encoding", total=total_s)

        def advance(seconds: float) -> None:
            nonlocal done_s
            done_s += seconds
            bars.update(task, advance=seconds)

        index = tokenize(
            codec,
            Path(model).resolve().name if Path(model).is_dir() else model,
            utterances,
            output,
            Options(format_, shard_hours, batch_s or default_batch_s(state.device), threads),
            state=state,
            overwrite=overwrite,
            progress=advance,
        )
    if state.is_main_process:
        speed = f", {done_s / (time.perf_counter() - started):.1f} times real time in each process" if done_s else ""
        print(
            f"{output}: {index.utterances} utterances, {index.hours:.2f} h, {index.tokens} tokens in "
            f"{len(index.shards)} shards; {index.codes_used} codes used, {index.entropy_bits:.2f} bits a token{speed}"
        )
        for failure in index.failed:
            say("error", f"{failure['id']}: {failure['reason']}", "bold red")
    state.destroy_process_group()
    if index.failed:
        if state.is_main_process:
            raise CodecError(f"{len(index.failed)} utterances could not be encoded; mend them and run the same again")
        raise typer.Exit(2)
