"""Prepare a folder of any recordings: manifests for training and, where asked for, for validation.

    python recipes/prepare_folder.py /data/interviews -o data/interviews --held-out 0.02

The first folder on the way to a recording names its speaker (--speaker-level). Running it twice does nothing twice; a
folder that has changed since is prepared again. Without --held-out a dev.jsonl that it made before is removed, as its
recordings are in train.jsonl then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run
from codec.corpora import folder as folders
from codec.corpora.console import counting, show

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Searched with all its folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the manifests.")],
    held_out: Annotated[float, typer.Option(help="Share of the speakers for dev.jsonl.")] = 0.0,
    speaker_level: Annotated[int, typer.Option(min=0, help="Which folder names the speaker; 0: none does.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Threads that open files.")] = min(8, os.cpu_count() or 1),
    force: Annotated[bool, typer.Option("--force", help="Write manifests again that are up to date.")] = False,
) -> None:
    """Write train.jsonl and, with --held-out, dev.jsonl."""
    with counting("reading headers") as progress:
        summaries = list(
            folders.prepare(
                folder,
                output,
                speaker_level=speaker_level,
                held_out=held_out,
                jobs=jobs,
                force=force,
                progress=progress,
            )
        )
    show(summaries, output)


if __name__ == "__main__":
    run(app)
