"""``codec plot``: curves of training runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import Force, check_output


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that recipes/train.py wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="A .png or .html file.")],
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="KIND/NAME", help="Only this quantity, for example validation/loss/mel. Again for more."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is logged, not only the usual.")] = False,
    force: Force = False,
) -> None:
    """Draw the curves of several runs into one picture or page."""
    from codec.files import replacing, write_text
    from codec.training import curves

    check_output(output, force, (".png", ".html"))
    read = [curves.read_run(run, name) for run, name in zip(runs, curves.short_names(runs), strict=True)]
    drawn = curves.panels(read, keys or (), everything=everything)
    if output.suffix.lower() == ".png":
        with replacing(output) as temporary:
            curves.png(read, drawn, temporary)
    else:
        write_text(output, curves.html(read, drawn))
    typer.echo(f"{output}: {len(drawn)} curves of {', '.join(run.name for run in read)}")
