"""What runs have told, side by side: the curves of several run folders as one picture or one page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from codec.charts import Curve, line_chart
from codec.errors import CodecError

Points = list[tuple[float, float]]  # (step, value)

# What tells most, in this order; what a run has beyond it is drawn where all is asked for.
USUAL = (
    "validation/loss/mel",
    "train/loss/mel",
    "validation/codes_used",
    "train/perplexity",
    "validation/effective_dimension/latents",
    "validation/effective_dimension/codebook",
    "train/loss/commitment",
    "train/projection/effective_rank",
    "train/projection/norm",
    "train/grad_norm/generator",
    "train/grad_norm/discriminator",
    "train/lr/network",
    "train/audio_s_per_s",
)
LOG_RANGE = 50.0  # highest over lowest value from which a scale is logarithmic
PAGE_STYLE = """
main { max-width: 1200px; }
.runs { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1rem; }
"""
# Told apart by most kinds of colour blindness, on white and on black (Okabe and Ito, without black and yellow).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class RunCurves:
    """All numbers of a run by ``kind/name``."""

    name: str
    curves: Mapping[str, Points]
    switch: float | None = None  # step at which the bottleneck came in


@dataclass(frozen=True)
class Panel:
    """One quantity, a curve for each run that has it."""

    title: str
    curves: list[Curve]
    log_y: bool


def read_run(folder: Path, name: str) -> RunCurves:
    """Read ``metrics.jsonl`` of a run folder, also of one that is still training.

    Raises:
        CodecError: no such file, or nothing in it.
    """
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CodecError(
            f"{path}: cannot read ({error.strerror}); give folders that recipes/train.py wrote (its setting output)"
        ) from None
    curves: dict[str, Points] = {}
    switch = None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            step, kind = float(entry.pop("step")), entry.pop("kind")
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines):  # being written just now
                continue
            raise CodecError(f"{path}, line {number}: not a line of a run's log; restore the file") from None
        if kind == "switch":
            switch = step
            continue
        for key, value in entry.items():
            if isinstance(value, int | float):
                curves.setdefault(f"{kind}/{key}", []).append((step, float(value)))
    if not curves:
        raise CodecError(f"{path}: nothing logged yet; wait for training.log_every steps")
    return RunCurves(name, curves, switch)


def short_names(folders: Sequence[Path]) -> list[str]:
    """What tells the folders apart: the last parts of their paths, as many as that takes."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(folder) for folder in folders]


def panels(runs: Sequence[RunCurves], keys: Sequence[str] = (), *, everything: bool = False) -> list[Panel]:
    """A panel for each quantity that any run has.

    Args:
        runs: in the order of their colours.
        keys: ``kind/name`` of the quantities; none: the usual ones.
        everything: all that is logged, the usual ones first.

    Raises:
        CodecError: a key that no run has.
    """
    known = sorted({key for run in runs for key in run.curves})
    for key in keys:
        if key not in known:
            raise CodecError(f"{key}: none of the runs has logged it; there are {', '.join(known)}")
    chosen = list(keys) or [key for key in USUAL if key in known]
    if everything or not chosen:
        chosen += [key for key in known if key not in chosen]
    made = []
    for key in chosen:
        curves = [Curve(run.name, run.curves[key]) for run in runs if key in run.curves]
        # Where all runs together have no finite number, the chart says that nothing is there.
        values = [value for curve in curves for _, value in curve.points if math.isfinite(value)]
        log_y = bool(values) and min(values) > 0 and max(values) > LOG_RANGE * min(values)
        made.append(Panel(key, curves, log_y))
    return made


def html(runs: Sequence[RunCurves], drawn: Sequence[Panel]) -> str:
    """One page without anything from any network."""
    from codec.pages import document

    letters = [chr(ord("A") + number % 26) for number in range(len(runs))]
    charts = []
    for panel in drawn:
        by_name = {curve.name: curve.points for curve in panel.curves}
        # A run looks the same in every chart, also where another is missing; its whole name would not fit in.
        curves = [
            Curve(letter, by_name.get(run.name, []), f"run-{number % len(COLOURS)}")
            for number, (run, letter) in enumerate(zip(runs, letters, strict=True))
        ]
        switches = {run.switch for run in runs if run.switch is not None}
        mark = (switches.pop(), "codebook in use") if len(switches) == 1 else None
        charts.append(f"<div>{line_chart(panel.title, curves, log_y=panel.log_y, mark=mark)}</div>")
    legend = "".join(
        f'<p class="run-{number % len(COLOURS)}"><b>{letter}</b> {escape(run.name)}</p>'
        for number, (run, letter) in enumerate(zip(runs, letters, strict=True))
    )
    style = PAGE_STYLE + "".join(
        f".line.run-{number} {{ stroke: {colour}; color: {colour}; }} p.run-{number} b {{ color: {colour}; }}\n"
        for number, colour in enumerate(COLOURS)
    )
    body = f'<h1>Training runs</h1>{legend}<div class="runs">{"".join(charts)}</div>'
    return document("Training runs: " + ", ".join(run.name for run in runs), body, style=style)


def png(runs: Sequence[RunCurves], drawn: Sequence[Panel], path: Path) -> None:
    """The same as a picture, three panels in a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: it keeps figures alive and may look for a display
    colours = {run.name: COLOURS[number % len(COLOURS)] for number, run in enumerate(runs)}
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, ax in zip(drawn, axes, strict=False):
        for curve in panel.curves:
            ax.plot(
                *zip(*curve.points, strict=True),
                color=colours[curve.name],
                label=curve.name,
                linewidth=1.3,
                marker="." if len(curve.points) == 1 else None,
            )
        if all(len(curve.points) == 1 for curve in panel.curves):  # left to itself, the axis has fractions of a step
            ax.set_xlim(0, 2 * max(1.0, *(curve.points[0][0] for curve in panel.curves)))
        ax.set_title(panel.title, fontsize=10)
        ax.set_xlabel("step", fontsize=8)
        ax.set_yscale("log" if panel.log_y else "linear")
        ax.grid(alpha=0.3)
        ax.tick_params(labelsize=8)
    for ax in axes[len(drawn) :]:
        ax.set_visible(False)
    handles = [ax.get_legend_handles_labels() for ax in axes[: len(drawn)]]
    labelled = {label: line for lines, labels in handles for line, label in zip(lines, labels, strict=True)}
    figure.legend(labelled.values(), labelled.keys(), loc="outside upper left", ncols=min(4, len(labelled)), fontsize=9)
    figure.savefig(path, format="png")
