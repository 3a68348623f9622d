"""``codec push``: a model to the hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from codec.cli.console import Force, check_output, working


def push(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Folder (best/ of a run, or a converted model), or a model that ships."),
    ],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")],
    licence: Annotated[
        str | None, typer.Option("--licence", help="As the hub names it: mit, cc-by-4.0, ... [default: unknown]")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option("--evaluation", metavar="DIR", help="Folder of this model's scores, for its card.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A repository that only you see.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to.")] = None,
    dry_run: Annotated[
        Path | None, typer.Option("--dry-run", metavar="OUT", help="Write what would be sent into OUT; send nothing.")
    ] = None,
    force: Force = False,
) -> None:
    """Share a model: settings, weights, SHA256SUMS and a card of how it was trained and what it scores."""
    from codec import sharing

    if dry_run is not None:
        check_output(dry_run / sharing.CARD_FILE, force)
        sharing.prepare(model, dry_run, repository, licence=licence, evaluation=evaluation)
        typer.echo(f"{dry_run}: what would be sent to {repository}")
        return
    with TemporaryDirectory(prefix="codec-") as name, working(f"pushing {model} to {repository}"):
        sharing.prepare(model, Path(name), repository, licence=licence, evaluation=evaluation)
        address = sharing.push(Path(name), repository, private=private, revision=revision)
    typer.echo(f"{address}: pushed {model}")
