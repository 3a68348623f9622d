"""The command line: ``codec encode``, ``decode``, ``tokens``, ``info``, ``convert``, ``score``,
``compare``, ``compare-quantizers``, ``report``, ``plot``, ``bench``, ``export``, ``push``, ``fetch``.

A command is a thin wrapper of library functions. Commands import what needs torch when they run, so that ``--help`` and
a mistyped option answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from codec import __version__
from codec.cli import (
    bench,
    compare,
    compare_quantizers,
    convert,
    decode,
    encode,
    export,
    fetch,
    info,
    plot,
    push,
    report,
    score,
    tokens,
)
from codec.cli.console import run

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="codec",
    help="Speech to single-codebook tokens and back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"codec {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("encode")(encode.encode)
app.command("decode")(decode.decode)
app.command("tokens")(tokens.tokens)
app.command("info")(info.info)
app.command("score")(score.score)
app.command("compare")(compare.compare)
app.command("compare-quantizers")(compare_quantizers.compare_quantizers)
app.command("report")(report.report)
app.command("plot")(plot.plot)
app.command("bench")(bench.bench)
app.command("export")(export.export)
app.command("push")(push.push)
app.add_typer(convert.app, name="convert")
app.add_typer(fetch.app, name="fetch")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line on ``args`` (default: the process's own) and exit."""
    run(app, args)
