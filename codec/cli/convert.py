"""``codec convert``: published checkpoints to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import Force, check_output, working

app = typer.Typer(help="Convert published checkpoints into a model folder.", no_args_is_help=True)


@app.callback()
def _family() -> None:
    # A callback keeps the checkpoint's family a sub-command while there is only one.
    pass


@app.command("simvq")
def simvq(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The authors' Lightning checkpoint.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Model folder to write.")],
    force: Force = False,
) -> None:
    """Convert a published SimVQ audio checkpoint."""
    from codec.convert import convert_simvq

    check_output(output / "config.json", force)  # the folder itself may be there
    with working(f"converting {checkpoint}"):
        convert_simvq(checkpoint, output)
    typer.echo(f"{output}: converted from {checkpoint}")
