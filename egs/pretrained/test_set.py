"""The manifest of the final table from a folder of speech: its test clips of LibriTTS and VCTK of over one second.

python egs/pretrained/test_set.py /data/speech -o exp/pretrained/data/test.jsonl
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from codec import audio
from codec.cli import run
from codec.errors import CodecError
from codec.manifest import Utterance, write_manifest

SHORTEST_S = 1.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    speech: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds test.csv and the folder test.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Manifest to write.")],
) -> None:
    """Write the manifest, each clip with its speaker."""
    try:
        with (speech / "test.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise CodecError(f"{speech}: no readable test.csv ({error.strerror}); give the folder of the speech") from None
    utterances = []
    for row in rows:
        path = (speech / row["path"]).resolve()
        facts = audio.info(path)
        if facts.duration_s > SHORTEST_S:
            split = Utterance(row["id"], path, facts.num_samples, facts.sample_rate, row["speaker"], "test")
            utterances.append(split)
    write_manifest(output, sorted(utterances, key=lambda utterance: utterance.id))
    typer.echo(f"{output}: {len(utterances)} of {len(rows)} clips, longer than {SHORTEST_S:g} s")


if __name__ == "__main__":
    run(app)
