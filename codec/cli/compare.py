"""``codec compare``: two evaluations of the same test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder that recipes/evaluate.py wrote.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same test set and protocol.")],
) -> None:
    """Compare two evaluations utterance by utterance: differences, 95 % intervals, significance."""
    from rich.console import Console
    from rich.table import Table

    from codec.evaluation.compare import Evaluation, distinct_names, table_rows
    from codec.evaluation.compare import compare as differences
    from codec.evaluation.significance import LEVEL, how_tested
    from codec.evaluation.table_notes import rates_note

    left, right = Evaluation.read(a), Evaluation.read(b)
    rows = table_rows(differences(left, right))
    table = Table("metric")
    for heading in ("A", "B", "B - A", "95 % interval", "p", "better", "pairs"):
        table.add_column(heading, justify="right", no_wrap=heading in ("A", "B", "B - A", "p", "better"))
    for row in rows:
        table.add_row(*row)
    name_a, name_b = distinct_names([left, right])
    typer.echo(f"A: {name_a}\nB: {name_b}")
    Console().print(table)
    typer.echo(f"{how_tested()}; better: p < {LEVEL}, each metric by itself")
    if note := rates_note(dict(zip((name_a, name_b), (left, right), strict=True))):
        typer.echo(note)
