"""Write a model folder with random weights: what the trained model is compared with.

python egs/mini/untrained.py --config exp/mini/tiny/config.yaml -o exp/mini/untrained
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from codec import Codec, load_run_config
from codec.cli import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="YAML settings of the run whose twin this is.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
) -> None:
    """Build the run's network as it was before the first step, and save it."""
    settings = load_run_config(config)
    torch.manual_seed(settings.training.seed)
    Codec(settings.model).save_pretrained(output)
    typer.echo(f"{output}: random weights")


if __name__ == "__main__":
    run(app)
