"""What the recipes that prepare corpora show on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from codec.corpora import preparation
from codec.corpora.libritts import KNOWN_SPLITS, compare
from codec.corpora.preparation import SplitSummary

NOTES_SHOWN = 5  # of each split; the rest is in its marker

console = Console()


@contextmanager
def counting(task: str) -> Iterator[preparation.Progress]:
    """A progress bar over files."""
    with _bar(task, MofNCompleteColumn()) as progress:
        yield progress


@contextmanager
def transferring(task: str) -> Iterator[preparation.Progress]:
    """A progress bar over bytes."""
    with _bar(task, DownloadColumn(), TransferSpeedColumn()) as progress:
        yield progress


@contextmanager
def _bar(task: str, *columns: ProgressColumn) -> Iterator[preparation.Progress]:
    shown = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    with Progress(*shown, console=console, transient=True) as bars:
        bar = bars.add_task(task, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total or None)


def say(line: str) -> None:
    """Print one line; paths in it are neither marked up nor broken."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def show(summaries: Sequence[SplitSummary], output_dir: Path) -> None:
    """Print what was prepared, how it stands against the published counts, and what was left out."""
    table = Table("split", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)  # fits 80 columns
    for name in ("files", "published", "speakers", "hours", "no text", "bad"):
        table.add_column(name, justify="right")
    table.add_column("manifest")
    for summary in summaries:
        known = KNOWN_SPLITS.get(summary.split)
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
    console.print(table)
    for summary in summaries:
        if difference := compare(summary):
            say(f"{summary.split}: {difference}")
        for note in summary.notes[:NOTES_SHOWN]:
            say(f"{summary.split}: left out {note}")
        if len(summary.notes) > NOTES_SHOWN:
            marker = summary.manifest.with_name(f".{summary.split}.completed")
            say(f"{summary.split}: and {len(summary.notes) - NOTES_SHOWN:,} more, listed in {marker}")
    say(f"manifests in {output_dir}")
