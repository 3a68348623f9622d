"""``codec score``: one recording against its reconstruction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import console


def score(
    reference: Annotated[Path, typer.Argument(metavar="ORIGINAL", help="The recording.")],
    degraded: Annotated[Path, typer.Argument(metavar="DECODED", help="What became of it.")],
    metrics: Annotated[
        str | None,
        typer.Option(help="Comma-separated; all adds wer and sim. [default: those of recipes/evaluate.py]"),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(min=1, help="Hz at which they are compared. [default: that of DECODED]")
    ] = None,
    text: Annotated[str | None, typer.Option(help="What is said, for wer.")] = None,
    device: console.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One object of JSON.")] = False,
) -> None:
    """Score one reconstruction, by the metrics of recipes/evaluate.py; what cannot be computed is said on stderr.

    The exit code is 2 where nothing could be.
    """
    from codec import audio
    from codec.devices import pick_device
    from codec.errors import CodecError
    from codec.evaluation import Scorer
    from codec.evaluation.registry import DEFAULT

    rate = sample_rate or audio.info(degraded).sample_rate
    audio.info(reference)  # what cannot be read shows before networks are loaded
    names = DEFAULT if metrics is None else console.comma_separated(metrics)
    with console.working(f"scoring {degraded}"):
        scorer = Scorer(rate, names, device=pick_device(device))
        scores = scorer.score_files(reference, degraded, text)
    if not scores.numbers:
        raise CodecError(f"{degraded}: no metric could be computed; {next(iter(scores.failures.values()))}")
    if as_json:
        typer.echo(json.dumps({"sample_rate": rate, "scores": scores.numbers, "failures": scores.failures}))
        return
    shown = {name: value for metric in scorer.metrics for name, value in metric.values.items()}
    for name, value in shown.items():
        if name in scores.numbers:
            unit = f" {value.unit}" if value.unit else ""
            typer.echo(f"{value.label}: {scores.numbers[name]:.{value.digits}f}{unit} ({value.better} is better)")
    for reason in dict.fromkeys(scores.failures.values()):
        failed = ", ".join(name for name, why in scores.failures.items() if why == reason)
        console.say("warning", f"{failed}: {reason}", "yellow")
