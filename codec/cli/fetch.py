"""``codec fetch``: weights that are not part of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from codec.cli.console import console

app = typer.Typer(help="Download, once, weights of learned metrics.", no_args_is_help=True)


@app.callback()
def _kind() -> None:
    # A callback keeps the name a sub-command while there is only one.
    pass


@app.command("utmos")
def utmos(
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Instead of ~/.cache/simvq-codec.")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Another place that has the file.")] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Checksum that it must have; else the one its host publishes.")
    ] = None,
) -> None:
    """Fetch UTMOS22-strong (413 MB), converted by the authors of utmos-pytorch; checked by its SHA-256."""
    from codec.evaluation.weights import CACHE, UTMOS_URL, fetch_utmos

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("utmos", total=None)
        path = fetch_utmos(
            folder or CACHE.expanduser(),
            url=url or UTMOS_URL,
            sha256=sha256,
            progress=lambda done, total: bars.update(task, completed=done, total=total or None),
        )
    typer.echo(f"{path}: the weights of UTMOS")
