"""Make of a trained model one that ships with the package.

    python recipes/release.py exp/run/best --name simvq-24khz-0.9kbps --speech egs/mini/corpus/dev-mini
    python recipes/evaluate.py --system model:simvq-24khz-0.9kbps --manifest data/test.jsonl -o exp/scores
    python recipes/release.py exp/run/best --name simvq-24khz-0.9kbps --speech ... --evaluation exp/scores

Writes ``codec/bundled/NAME/`` (weights in half precision, split where they are larger than 16 MiB, settings, the run's
settings, card, checksums) and its line in ``codec/bundled/index.json``. The second run differs by its card alone.
``docs/pretrained.md`` has the whole way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run
from codec.folders import recordings_below
from codec.releasing import release

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="best/ of a run, or the run's folder.")],
    name: Annotated[str, typer.Option(help="Under which it will be found.")],
    speech: Annotated[
        list[Path], typer.Option(help="Recordings, or a folder of them, to compare half precision with float32 on.")
    ],
    description: Annotated[str, typer.Option(help="One line, for lists.")] = "",
    licence: Annotated[
        str | None, typer.Option(help="Of the weights, as the hub names it: mit, cc-by-4.0, ...")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Scores of the model as released, by recipes/evaluate.py.")
    ] = None,
    sources: Annotated[
        list[Path] | None, typer.Option(help="CSV: where each training recording comes from, and its licence.")
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown: sections for the card, as credits and limits.")] = None,
    machine: Annotated[str | None, typer.Option(help="What it was trained on, for the card.")] = None,
) -> None:
    """Put a trained model among those that ship with the package."""
    if (model / "best").is_dir():
        model = model / "best"
    released = release(
        model,
        name,
        [file for path in speech for file in recordings_below(path)],
        description=description,
        licence=licence,
        evaluation=evaluation,
        sources=sources or (),
        notes=notes,
        machine=machine,
    )
    typer.echo(
        f"{released.folder}: model {released.codec.fingerprint}, {released.num_bytes / 1e6:.1f} MB; "
        f"{released.equal} of {released.tokens} tokens as in float32 ({released.equal / released.tokens:.2%})"
    )


if __name__ == "__main__":
    run(app)
