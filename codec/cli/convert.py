"""``codec convert``: published checkpoints to a model folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import Force, check_output, working

app = typer.Typer(help="Convert published checkpoints into a model folder.", no_args_is_help=True)


Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The authors' Lightning checkpoint.")]
Folder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Model folder to write.")]


@app.command("simvq")
def simvq(checkpoint: Checkpoint, output: Folder, force: Force = False) -> None:
    """Convert a published SimVQ audio checkpoint."""
    from codec.convert import convert_simvq

    _convert(convert_simvq, checkpoint, output, force)


@app.command("wavtokenizer")
def wavtokenizer(checkpoint: Checkpoint, output: Folder, force: Force = False) -> None:
    """Convert a published WavTokenizer checkpoint, of 75 or of 40 tokens a second."""
    from codec.convert import convert_wavtokenizer

    _convert(convert_wavtokenizer, checkpoint, output, force)


def _convert(convert: Callable[[Path, Path], None], checkpoint: Path, output: Path, force: bool) -> None:
    check_output(output / "config.json", force)  # the folder itself may be there
    with working(f"converting {checkpoint}"):
        convert(checkpoint, output)
    typer.echo(f"{output}: converted from {checkpoint}")
