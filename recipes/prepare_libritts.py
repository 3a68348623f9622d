"""Prepare LibriTTS, LibriTTS-R or a corpus laid out like them: one manifest a split.

    python recipes/prepare_libritts.py /data/LibriTTS -o data/libritts --jobs 16
    python recipes/prepare_libritts.py egs/mini/corpus -o exp/mini/data

Running it twice does nothing twice; a corpus folder that has changed since is prepared again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from codec.cli import run
from codec.corpora import libritts
from codec.corpora.preparation import SplitSummary

NOTES_SHOWN = 5  # the rest is in the marker

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


@app.command()
def prepare(
    corpus: Annotated[Path, typer.Argument(help="Folder that holds train-clean-100, test-clean, ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the manifests, SPLIT.jsonl each.")],
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be given again.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Threads that open files.")] = min(8, os.cpu_count() or 1),
    force: Annotated[bool, typer.Option("--force", help="Write manifests again that are up to date.")] = False,
) -> None:
    """Write a manifest for each split and compare it with what is published about the corpus."""
    columns = (TextColumn("reading headers"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("")

        def progress(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        summaries = list(libritts.prepare(corpus, output, split or (), jobs=jobs, force=force, progress=progress))
    console.print(_table(summaries))
    for summary in summaries:
        if difference := libritts.compare(summary):
            _say(f"{summary.split}: {difference}")
        _print_notes(summary)
    _say(f"manifests in {output}")


def _table(summaries: list[SplitSummary]) -> Table:
    table = Table("split", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)  # fits 80 columns
    for name in ("files", "published", "speakers", "hours", "no text", "bad"):
        table.add_column(name, justify="right")
    table.add_column("manifest")
    for summary in summaries:
        known = libritts.KNOWN_SPLITS.get(summary.split)
        table.add_row(
            summary.split,
            f"{summary.utterances:,}",
            f"{known.utterances:,}" if known else "-",
            f"{summary.speakers:,}",
            f"{summary.hours:.2f}",
            f"{summary.without_text:,}",
            f"{len(summary.notes):,}",
            "written" if summary.fresh else "unchanged",
        )
    return table


def _print_notes(summary: SplitSummary) -> None:
    for note in summary.notes[:NOTES_SHOWN]:
        _say(f"{summary.split}: left out {note}")
    more = len(summary.notes) - NOTES_SHOWN
    if more > 0:
        marker = summary.manifest.with_name(f".{summary.split}.completed")
        _say(f"{summary.split}: and {more:,} more, listed in {marker}")


def _say(line: str) -> None:
    """Paths are not marked up, and not broken."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run(app)
