"""``codec report``: several evaluations of one test set as one table and one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli.console import comma_separated, say, working
from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.evaluation.table import SystemTable

SHOWN_COLUMNS = 4  # fit 80 letters beside each other
AVERAGES = ("utterances", "speakers")


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that recipes/evaluate.py wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for table and page.")],
    manifest: Annotated[
        Path | None, typer.Option(help="The test set: the page then has the originals' sounds and pictures.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RUN", help="One of the folders: the others' paired differences from it.")
    ] = None,
    average: Annotated[str, typer.Option(help="What means are over: utterances, or speakers (of their means).")] = (
        AVERAGES[0]
    ),
    values: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Columns, such as pesq_wb,stoi,vuv_f1; default: all.")
    ] = None,
    quoted: Annotated[
        str | None,
        typer.Option(
            help="Published rows beside them: test-clean, test-other or none; default: the test set's, if any."
        ),
    ] = None,
    sound_mb: Annotated[
        float, typer.Option("--sound-mb", min=0, help="At most so many MB of sounds and pictures in the page.")
    ] = 12.0,
) -> None:
    """Set scored systems beside each other: summary.md, .csv, .json and report.html."""
    from codec.evaluation.page import write_page
    from codec.evaluation.table import Average, Runs, build_table
    from codec.evaluation.table_files import check_folder, write_table
    from codec.manifest import read_manifest

    if average not in AVERAGES:
        raise CodecError(f"--average {average}: expected {' or '.join(AVERAGES)}")
    check_folder(output)
    utterances = read_manifest(manifest) if manifest is not None else []
    found = Runs.read(runs)
    base = None if against is None else found.named(against)
    chosen = comma_separated(values) if values is not None else None
    with working("setting systems together"):
        table = build_table(found, average=Average(average), quoted=quoted, values=chosen, against=base)
        write_table(output, table)
        size = write_page(output, table, found, utterances, sound_bytes=round(sound_mb * 1e6))
    _show(table)
    for note in table.notes:
        say("", note)
    typer.echo(f"{output / 'summary.md'} has the table, {output / 'report.html'} ({size / 1e6:.1f} MB) the page")


def _show(table: SystemTable) -> None:
    """Means on the terminal, a few columns at a time; the files have the rest."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from codec.evaluation.table_files import cell_text, heading, rate_texts

    rows = [row for row in table.rows if row.kind != "quoted"]
    columns = list(table.columns.items())
    for first in range(0, len(columns), SHOWN_COLUMNS):
        part = columns[first : first + SHOWN_COLUMNS]
        shown = Table()
        shown.add_column("system", overflow="fold")
        for name in ("bit/s", *(heading(column) for _, column in part)):
            shown.add_column(name, justify="right")
        for row in rows:
            cells = [cell_text(row.cells[value], column)[0] for value, column in part]
            shown.add_row(Text(row.name), rate_texts(row)[0], *cells)  # as Text, brackets in a name are no markup
        Console().print(shown)
