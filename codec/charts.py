"""Curves as SVG fragments: sharp at every size, and coloured by the style sheet of the page that they stand in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 44.0, 350.0, 44.0, 190.0  # of the plot in a view of 360 × 220 units


@dataclass(frozen=True)
class Curve:
    """One line of a chart; points that are not finite are left out."""

    name: str
    points: Sequence[tuple[float, float]]  # by rising x
    style: str = ""  # a further CSS class


def line_chart(
    title: str,
    curves: Sequence[Curve],
    *,
    x_label: str = "step",
    log_y: bool = False,
    from_zero: bool = False,
    mark: tuple[float, str] | None = None,
) -> str:
    """A chart as an SVG element of 360 × 220 units, legible at that size on a phone.

    The page sets the looks of the classes ``chart-title``, ``axis``, ``grid``, ``label``, ``mark``, ``line`` and of
    ``line-0``, ``line-1``, ... for the curves.

    Args:
        title: above the chart.
        curves: drawn in this order; those without a point are left out.
        x_label: below the axis.
        log_y: logarithmic scale; points that are not positive are left out.
        from_zero: the (linear) scale begins at 0.
        mark: where on the x axis something happened, and what.
    """
    curves = [Curve(curve.name, _drawable(curve.points, log_y), curve.style) for curve in curves]
    curves = [curve for curve in curves if curve.points]
    parts = [
        f'<svg viewBox="0 0 360 220" role="img" aria-label="{escape(title)}">',
        f'<text class="chart-title" x="4" y="15">{escape(title)}</text>',
    ]
    if not curves:
        parts.append('<text class="label" x="180" y="110" text-anchor="middle">nothing logged</text></svg>')
        return "".join(parts)
    plot = _Plot.around([point for curve in curves for point in curve.points], log_y, from_zero)
    parts += _axes(plot, x_label)
    if mark is not None and plot.x_ticks[0] <= mark[0] <= plot.x_ticks[-1]:
        x = plot.x(mark[0])
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{BOTTOM:g}"/>')
        anchor, shift = ("start", 4) if x < (LEFT + RIGHT) / 2 else ("end", -4)
        parts.append(
            f'<text class="label" x="{x + shift:.1f}" y="{TOP + 9:g}" text-anchor="{anchor}">{escape(mark[1])}</text>'
        )
    legend = 4.0
    for number, curve in enumerate(curves):
        style = f"line line-{number} {curve.style}".rstrip()
        if len(curve.points) == 1:  # a line of one point would not be seen
            x, y = curve.points[0]
            parts.append(f'<circle class="{style}" cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="2"/>')
        points = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in curve.points)
        parts.append(f'<polyline class="{style}" points="{points}"/>')
        parts.append(f'<line class="{style}" x1="{legend:g}" x2="{legend + 14:g}" y1="29" y2="29"/>')
        parts.append(f'<text class="label" x="{legend + 18:g}" y="32.5">{escape(curve.name)}</text>')
        legend += 30 + 6.2 * len(curve.name)
    return "".join(parts) + "</svg>"


@dataclass(frozen=True)
class _Plot:
    """Scales from data to the view."""

    x_ticks: list[float]
    y_ticks: list[float]
    log_y: bool

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], log_y: bool, from_zero: bool) -> _Plot:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        low = min(0.0, *ys) if from_zero else min(ys)
        y_ticks = log_ticks(low, max(ys)) if log_y else ticks(low, max(ys), 4)
        return cls(ticks(min(0.0, *xs), max(xs), 4), y_ticks, log_y)

    def x(self, value: float) -> float:
        first, last = self.x_ticks[0], self.x_ticks[-1]
        return LEFT + (value - first) / (last - first) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        first, last = self.y_ticks[0], self.y_ticks[-1]
        if self.log_y:
            first, last, value = math.log10(first), math.log10(last), math.log10(value)
        return BOTTOM - (value - first) / (last - first) * (BOTTOM - TOP)


def _drawable(points: Sequence[tuple[float, float]], log_y: bool) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log_y)]


def _axes(plot: _Plot, x_label: str) -> list[str]:
    parts = []
    for tick in plot.y_ticks:
        y = plot.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="label" x="{LEFT - 5:g}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in plot.x_ticks:
        x = plot.x(tick)
        parts.append(f'<text class="label" x="{x:.1f}" y="{BOTTOM + 14:g}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<text class="label" x="{RIGHT:g}" y="{BOTTOM + 27:g}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT:g}" x2="{RIGHT:g}" y1="{BOTTOM:g}" y2="{BOTTOM:g}"/>')
    return parts


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, in about ``count`` steps of 1, 2 or 5 times 10^n."""
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-10):  # one value, but for rounding: a scale around it
        margin = 0.1 * (abs(low) if abs(low) > 1e-9 else 1.0)
        low, high = low - margin, high + margin
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    # A bound that is a tick but for rounding needs no further one.
    if (first + 1) * step - low <= 1e-12 * max(abs(low), abs(high)):
        first += 1
    if high - (last - 1) * step <= 1e-12 * max(abs(low), abs(high)):
        last -= 1
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten that enclose ``low`` to ``high``; whole powers only, where that would be many."""
    factors = (1, 2, 5) if high / low < 200 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    first = max(number for number, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
    last = min(number for number, mark in enumerate(marks) if mark >= high * (1 - 1e-9))
    return marks[first : max(last, first + 1) + 1]


def short(value: float) -> str:
    """A tick's label: 1500 -> 1.5k, 0.25 -> 0.25."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e3:
        return f"{value / 1e3:g}k"
    return f"{value:.3g}"
