"""How the score of a model grows with the audio that it has heard, and what more of it would bring.

    python egs/pretrained/curve.py --run exp/pretrained/RUN exp/pretrained/RUN/milestones/step_* \
        --manifest exp/pretrained/data/dev/train.jsonl -o exp/pretrained/curve --at 50 --at 300
    python egs/pretrained/curve.py --run exp/pretrained/RUN -o exp/pretrained/curve    # from the run's log alone

Scores model folders of one run, or of one and those that went on from it (copies of its ``last/`` in ``milestones/``,
which have the weights' moving average and say their step), on recordings for choosing, fits score = a - b * hours^-c
with an end a that the score can have, and writes ``curve.md`` and ``curve.html``. Without model folders, the log-mel
loss on the validation crops is taken from ``metrics.jsonl``. Hours are of audio heard, with repetitions, those of the
model that a run started from (``init_from``) included.

A learning rate that falls to the end of the run makes its last points better than a power law of the first ones: the
fit tells of this run with its schedule. What a longer one would reach is beyond it, and is given as no more than that,
with the range over all exponents that fit nearly as well: a few points say little about the bend.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from codec.charts import Curve, line_chart
from codec.cli import run
from codec.config import RunConfig, load_run_config
from codec.errors import CodecError
from codec.evaluation import MetricOptions, ModelSystem, build_metrics, evaluate, summarize, write_report
from codec.files import read_json, write_text
from codec.manifest import read_manifest
from codec.pages import document
from codec.pretrained import TRAINING_FILE
from codec.sharing import RUN_FILE

EXPONENTS = np.linspace(0.02, 3.0, 299)
LEAST_POINTS = 4  # one more than the fit has parameters
NEARLY = 1.5  # times the least residual: fits that the points do not tell from the best
ENDS = {"PESQ": 4.64, "STOI": 1.0, "ESTOI": 1.0, "log-mel": 0.0}  # by the label's first word: no score is beyond

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Fit:
    """score = a - b * hours^-c."""

    a: float
    b: float
    c: float
    rms: float  # of what is left over
    points: int
    others: tuple[Fit, ...] = ()  # with other exponents, nearly as good

    def at(self, hours: float) -> float:
        """The score after so many hours."""
        return self.a - self.b * hours**-self.c

    def range_at(self, hours: float) -> tuple[float, float]:
        """Least and largest of what this and the others say."""
        values = [fit.at(hours) for fit in (self, *self.others)]
        return min(values), max(values)

    def __str__(self) -> str:
        return f"{self.a:.4g} {'-' if self.b >= 0 else '+'} {abs(self.b):.4g} * hours^-{self.c:.3g}"


@dataclass(frozen=True)
class Scores:
    """One quantity over the hours of audio heard."""

    name: str
    points: list[tuple[float, float]]  # by rising hours

    @property
    def fit(self) -> Fit | None:
        """None of fewer points than tell anything, or where no power law ends at a score that there is."""
        if len(self.points) < LEAST_POINTS:
            return None
        end = next((value for word, value in ENDS.items() if self.name.lower().startswith(word.lower())), None)
        return fit_power_law(self.points, end)


def fit_power_law(points: Sequence[tuple[float, float]], end: float | None = None) -> Fit | None:
    """Least squares: for each exponent of a grid a and b are linear, and the best exponent is taken.

    Args:
        points: (hours, score).
        end: a score that rises cannot end above it, nor one that falls below it. With a small exponent the power law is
            a logarithm, and ends anywhere.
    """
    hours, scores = np.array(points, dtype=np.float64).T
    fits = []
    for exponent in EXPONENTS:
        basis = np.stack([np.ones_like(hours), -(hours**-exponent)], axis=1)
        (a, b), *_ = np.linalg.lstsq(basis, scores, rcond=None)
        rms = float(np.sqrt(np.mean((basis @ (a, b) - scores) ** 2)))
        if end is None or (a <= end if b >= 0 else a >= end):
            fits.append(Fit(float(a), float(b), float(exponent), rms, len(points)))
    if not fits:
        return None
    best = min(fits, key=lambda fit: fit.rms)
    return replace(best, others=tuple(fit for fit in fits if fit.rms <= NEARLY * best.rms))


@app.command()
def main(
    run_folder: Annotated[
        Path,
        typer.Option("--run", help="Says how much audio a step is, of its models and of those outside runs."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    models: Annotated[list[Path] | None, typer.Argument(metavar="DIR...", help="Model folders.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Recordings for choosing, to score the models on.")] = None,
    metrics: Annotated[str, typer.Option(help="Comma-separated.")] = "pesq,stoi,mel",
    at: Annotated[list[float] | None, typer.Option(help="Hours to say the fit's value at; again for more.")] = None,
) -> None:
    """Write the curve of score over hours of audio, with its fit."""
    config = load_run_config(run_folder / RUN_FILE)
    if models:
        if manifest is None:
            raise CodecError("models are scored on recordings; give --manifest FILE")
        curves = _of_models(models, run_folder, manifest, metrics.split(","), output)
    else:
        curves = _of_log(run_folder / "metrics.jsonl", config)
    wanted = at or [2 * max(hours for hours, _ in curves[0].points)]
    write_text(output / "curve.md", table(curves, wanted))
    write_text(output / "curve.html", page(curves, wanted))
    typer.echo(table(curves, wanted) + f"\n{output / 'curve.html'}: open it in a browser")


def _hours(step: int, config: RunConfig) -> float:
    """After so many steps of a run, and what the model had heard that it started from."""
    own = step * config.data.batch_size * config.data.crop_s / 3600
    start = Path(config.init_from) if config.init_from is not None else None
    if start is None or not start.is_dir():  # of a model by name, nobody knows
        return own
    before = _run_of(start)
    return own + (_hours(_step(start), load_run_config(before / RUN_FILE)) if before is not None else 0.0)


def _run_of(model: Path) -> Path | None:
    """The run folder that a model (``best``, ``last``, ``milestones/NAME``) lies in."""
    folders = model.resolve().parents[:2]
    return next((folder for folder in folders if (folder / RUN_FILE).is_file()), None)


def _step(model: Path) -> int:
    step = read_json(model / TRAINING_FILE, "give folders that a run wrote").get("step")
    if type(step) is not int:
        raise CodecError(f"{model / TRAINING_FILE}: no step in it; give folders that a run wrote")
    return step


def _of_models(
    folders: Sequence[Path], run_folder: Path, manifest: Path, metrics: Sequence[str], output: Path
) -> list[Scores]:
    utterances = read_manifest(manifest)
    found: dict[str, list[tuple[float, float]]] = {}
    for folder in folders:
        own_run, step = _run_of(folder) or run_folder, _step(folder)
        hours = _hours(step, load_run_config(own_run / RUN_FILE))
        system = ModelSystem(folder, "cpu")
        built = build_metrics(list(metrics), MetricOptions(system.sample_rate))
        of_run = "" if own_run.resolve() == run_folder.resolve() else f"{own_run.name}_"
        place = output / f"{of_run}step_{step}"
        summary = summarize(system, evaluate(system, utterances, built, place), manifest.stem)
        write_report(place, summary)
        for name, value in summary["metrics"].items():
            if value["mean"] is not None:
                label = summary["definitions"][name]["label"]
                found.setdefault(label, []).append((hours, value["mean"]))
    return [Scores(name, sorted(points)) for name, points in found.items()]


def _of_log(path: Path, config: RunConfig) -> list[Scores]:
    points, switch = [], 0
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        if entry.get("kind") == "switch":
            switch = entry["step"]
        if entry.get("kind") == "validation" and math.isfinite(entry.get("loss/mel", math.nan)):
            points.append((entry["step"], entry["loss/mel"]))
    # Before the switch the network was an autoencoder, whose loss is no codec's.
    after = [(_hours(step, config), value) for step, value in points if step >= switch]
    if not after:
        raise CodecError(
            f"{path}: nothing validated yet; wait for training.validate_every steps, or give model folders"
        )
    return [Scores("Log-mel loss on the validation crops", after)]


def table(curves: Sequence[Scores], wanted: Sequence[float]) -> str:
    """Points, fits and what they say, in Markdown."""
    lines = [f"| hours heard | {' | '.join(curve.name for curve in curves)} |", f"|--:|{'--:|' * len(curves)}"]
    by_hours = [dict(curve.points) for curve in curves]
    for hours in sorted({hours for points in by_hours for hours in points}):
        cells = [f"{points[hours]:.3f}" if hours in points else "none" for points in by_hours]
        lines.append(f"| {hours:.2f} | {' | '.join(cells)} |")
    lines.append("")
    for curve in curves:
        fit = curve.fit
        if fit is None:
            few = len(curve.points) < LEAST_POINTS
            why = f"too few for a fit (at least {LEAST_POINTS})" if few else "no power law with a possible end fits"
            lines.append(f"- {curve.name}: {len(curve.points)} points, {why}.")
            continue
        ranges = [(hours, *fit.range_at(hours)) for hours in wanted]
        values = ", ".join(f"{fit.at(h):.3f} ({low:.3f} to {high:.3f}) at {h:g} h" for h, low, high in ranges)
        lines.append(f"- {curve.name}: {fit} (rms {fit.rms:.2g}, {fit.points} points). By the fit: {values}.")
    return "\n".join(lines) + "\n"


def page(curves: Sequence[Scores], wanted: Sequence[float]) -> str:
    """A chart of each quantity, the fit beside the points, up to the hours asked for."""
    charts = []
    for curve in curves:
        drawn = [Curve("scored", curve.points)]
        if fit := curve.fit:
            first, last = curve.points[0][0], max(curve.points[-1][0], *wanted)
            drawn.append(Curve("fit", [(float(h), fit.at(float(h))) for h in np.geomspace(first, last, 60)]))
        mark = (curve.points[-1][0], "heard so far")
        charts.append(
            f'<div class="card">{line_chart(curve.name, drawn, x_label="hours of audio heard", mark=mark)}</div>'
        )
    body = f'<h1>Score over the audio heard</h1><div class="charts">{"".join(charts)}</div>'
    return document("Score over the audio heard", body)


if __name__ == "__main__":
    run(app)
