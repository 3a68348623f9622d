"""``codec fetch``: weights that are not part of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from codec.cli.console import console, working

app = typer.Typer(help="Download, once, weights of learned metrics and of other people's codecs.", no_args_is_help=True)

Repository = Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Another one of the same kind.")]
Endpoint = Annotated[str | None, typer.Option(metavar="URL", help="Another hub than huggingface.co.")]


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


def _from_hub(name: str, repository: str | None, endpoint: str | None) -> None:
    from codec.evaluation.hub import REPOSITORIES, fetch

    chosen = repository or REPOSITORIES[name]
    with working(f"fetching {chosen}"):
        folder = fetch(chosen, endpoint)
    typer.echo(f"{folder}: {chosen}")


@app.command("wer")
def wer(repository: Repository = None, endpoint: Endpoint = None) -> None:
    """Fetch the recogniser of the word error rate into the hub's cache (HuBERT large, 1.3 GB)."""
    _from_hub("wer", repository, endpoint)


@app.command("sim")
def sim(repository: Repository = None, endpoint: Endpoint = None) -> None:
    """Fetch the network of speaker similarity into the hub's cache (WavLM base plus with x-vectors, 0.4 GB)."""
    _from_hub("sim", repository, endpoint)


@app.command("encodec")
def encodec(repository: Repository = None, endpoint: Endpoint = None) -> None:
    """Fetch EnCodec of 24 kHz into the hub's cache."""
    _from_hub("encodec", repository, endpoint)


@app.command("dac")
def dac(repository: Repository = None, endpoint: Endpoint = None) -> None:
    """Fetch DAC of 24 kHz into the hub's cache."""
    _from_hub("dac", repository, endpoint)


@app.command("mimi")
def mimi(repository: Repository = None, endpoint: Endpoint = None) -> None:
    """Fetch Mimi into the hub's cache."""
    _from_hub("mimi", repository, endpoint)
