"""Codes used over training, a small panel a system, as a picture for documents (the HTML page has SVG charts)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from codec.drawing import INK

COLUMNS = 5
LINE = "#d1495b"

Curve = Sequence[tuple[float, float]]  # (step, codes used), ...


def draw_use(panels: Sequence[tuple[str, Sequence[Curve]]]) -> bytes:
    """A PNG that stands on a light or a dark page alike, all panels with the same logarithmic axis.

    Args:
        panels: name, and a curve for each seed.
    """
    rows = math.ceil(len(panels) / COLUMNS)
    columns = min(len(panels), COLUMNS)
    figure = Figure(figsize=(2.2 * columns, 1.9 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for panel, (name, curves) in zip(axes, panels, strict=False):
        for curve in curves:
            panel.plot(*zip(*curve, strict=True), color=LINE, linewidth=1, alpha=0.7)
        panel.set_yscale("log")
        panel.set_title(name, fontsize=7, color=INK)
        panel.grid(alpha=0.3, color=INK)
        panel.tick_params(labelsize=6, colors=INK, which="both")
        panel.spines[:].set_color(INK)
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format="png", transparent=True, metadata={"Software": None})
    return data.getvalue()
