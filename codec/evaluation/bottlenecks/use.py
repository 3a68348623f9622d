"""Codes used over training, a small panel a system, as a picture for documents (the HTML page has SVG charts)."""

from __future__ import annotations

from collections.abc import Sequence

from codec.drawing import INK
from codec.evaluation.bottlenecks.panels import ACCENT, as_png, small_panels

Curve = Sequence[tuple[float, float]]  # (step, codes used), ...


def draw_use(panels: Sequence[tuple[str, Sequence[Curve]]]) -> bytes:
    """A PNG, all panels with the same logarithmic axis.

    Args:
        panels: name, and a curve for each seed.
    """
    figure, axes = small_panels(len(panels), height=1.9, sharex=True, sharey=True)
    for panel, (name, curves) in zip(axes, panels, strict=True):
        for curve in curves:
            panel.plot(*zip(*curve, strict=True), color=ACCENT, linewidth=1, alpha=0.7)
        panel.set_yscale("log")
        panel.set_title(name, fontsize=7, color=INK)
        panel.grid(alpha=0.3, color=INK)
        panel.tick_params(labelsize=6, colors=INK, which="both")
    return as_png(figure)
