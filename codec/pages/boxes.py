"""Distributions side by side, as an SVG fragment coloured by the style sheet of its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from codec.charts import short, ticks

WIDTH, ROW, TOP, BOTTOM = 360.0, 34.0, 24.0, 22.0  # units of the view; a row has its name above its box
LEFT, RIGHT = 6.0, 354.0
FEW = 100  # up to so many values, each is drawn
BOX, WHISKERS = (25, 75), (5, 95)  # percentiles


@dataclass(frozen=True)
class Group:
    """The values of one row."""

    name: str
    values: Sequence[float]


def box_chart(title: str, groups: Sequence[Group]) -> str:
    """One row a group, on one scale: quartiles and median, 5th to 95th percentile, the mean; few values each.

    The page sets the looks of the classes ``chart-title``, ``label``, ``grid``, ``box``, ``whisker``, ``median``,
    ``mean`` and ``dot``.

    Args:
        title: above the chart.
        groups: from top to bottom; one without values is named and left empty.
    """
    every = [value for group in groups for value in group.values]
    height = TOP + ROW * len(groups) + BOTTOM
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(_described(title, groups))}">',
        f'<text class="chart-title" x="4" y="15">{escape(title)}</text>',
    ]
    scale = ticks(min(every), max(every), 4) if every else [0.0, 1.0]

    def x(value: float) -> float:
        return LEFT + (value - scale[0]) / (scale[-1] - scale[0]) * (RIGHT - LEFT)

    if every:
        for index, tick in enumerate(scale):
            anchor = "start" if index == 0 else "end" if tick == scale[-1] else "middle"
            at = f"{x(tick):.1f}"
            parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP:g}" y2="{height - 18:g}"/>')
            parts.append(f'<text class="label" x="{at}" y="{height - 6:g}" text-anchor="{anchor}">{short(tick)}</text>')
    for number, group in enumerate(groups):
        top = TOP + ROW * number
        note = "" if len(group.values) else ": no scores"
        parts.append(f'<text class="label" x="{LEFT:g}" y="{top + 12:g}">{escape(group.name + note)}</text>')
        if len(group.values):
            parts += _row([x(value) for value in group.values], x(float(np.mean(group.values))), top + 23)
    return "".join(parts) + "</svg>"


def _row(xs: Sequence[float], mean: float, y: float) -> list[str]:
    """Of places on the axis: the scale is linear, so that percentiles of places are places of percentiles."""
    low, high = np.percentile(xs, WHISKERS)
    first, third = np.percentile(xs, BOX)
    middle = float(np.median(xs))
    parts = [
        f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y:g}" y2="{y:g}"/>',
        f'<rect class="box" x="{first:.1f}" y="{y - 5:g}" width="{max(third - first, 0.5):.1f}" height="10" rx="2"/>',
    ]
    if len(xs) <= FEW:
        parts += [f'<circle class="dot" cx="{place:.1f}" cy="{y:g}" r="1.6"/>' for place in xs]
    parts.append(f'<line class="median" x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 6:g}" y2="{y + 6:g}"/>')
    diamond = f"{mean:.1f},{y - 4:g} {mean + 4:.1f},{y:g} {mean:.1f},{y + 4:g} {mean - 4:.1f},{y:g}"
    parts.append(f'<polygon class="mean" points="{diamond}"/>')
    return parts


def _described(title: str, groups: Sequence[Group]) -> str:
    """The chart in words, for who cannot see it."""
    rows = [
        f"{group.name}: median {float(np.median(group.values)):.3g}, half of the values from "
        f"{float(np.percentile(group.values, BOX[0])):.3g} to {float(np.percentile(group.values, BOX[1])):.3g}"
        for group in groups
        if len(group.values)
    ]
    return f"{title}. {'; '.join(rows) or 'no scores'}."
