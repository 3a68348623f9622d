"""Curves over rate and training, and maps of the codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from codec.charts import Curve, line_chart
from codec.evaluation.bottlenecks.maps import draw_maps
from codec.evaluation.bottlenecks.results import VALUES, Result
from codec.evaluation.bottlenecks.tables import grouped, system_names
from codec.evaluation.bottlenecks.use import draw_use

CURVES = 4  # in a chart: as many colours as the page has


def charts(results: Sequence[Result], systems: Sequence[str] | None = None) -> list[str]:
    """SVG elements: the first value, and the share of codes used, over the rate.

    Args:
        results: all runs.
        systems: drawn ones, at most four. None: the first four that were measured at most rates.
    """
    drawn = []
    for source in dict.fromkeys(result.source for result in results):
        here = [result for result in results if result.source == source]
        rates = {name: len({r.codebook_size for r in here if r.system == name}) for name in system_names(here)}
        names = list(systems or sorted(rates, key=rates.__getitem__, reverse=True))[:CURVES]
        for key in ("distortion", "pesq", "stoi", "mel", "codes_used"):
            if any(key in result.values for result in here):
                curves = [Curve(name, _points(here, name, key)) for name in names]
                title = f"{source}: {VALUES[key][0]}".removeprefix(": ")
                drawn.append(line_chart(title, curves, x_label="bits a token", log_y=key == "codes_used"))
    return drawn


def use_charts(results: Sequence[Result]) -> list[str]:
    """SVG elements: codes used over training, in charts of four systems, the best first; means over seeds."""
    drawn = []
    for table, here in grouped(results):
        names = [row[0] for row in table.rows if any(result.use for result in here if result.system == row[0])]
        for first in range(0, len(names), CURVES):
            curves = [Curve(name, _use_of(here, name)) for name in names[first : first + CURVES]]
            drawn.append(line_chart(f"{table.title}: codes used", curves, log_y=True))
    return drawn


def _use_of(results: Sequence[Result], name: str) -> list[tuple[float, float]]:
    steps: dict[float, list[float]] = {}
    for result in results:
        for step, codes in result.use if result.system == name else ():
            steps.setdefault(step, []).append(codes)
    return [(step, float(np.mean(codes))) for step, codes in sorted(steps.items())]


def map_pictures(results: Sequence[Result]) -> dict[str, bytes]:
    """By the table's title, maps of the systems that have one (of the first seed that has), the best first, as PNG."""
    drawn = {}
    for table, here in grouped(results):
        found = {result.system: result.map for result in reversed(here) if result.map is not None}
        if found:
            drawn[table.title] = draw_maps([(row[0], found[row[0]]) for row in table.rows if row[0] in found])
    return drawn


def use_pictures(results: Sequence[Result]) -> dict[str, bytes]:
    """By the table's title, codes used over training of the systems that tell it, the best first, as PNG."""
    drawn = {}
    for table, here in grouped(results):
        names = list(dict.fromkeys(row[0] for row in table.rows))
        curves = {name: [result.use for result in here if result.system == name and result.use] for name in names}
        if any(curves.values()):
            drawn[table.title] = draw_use([(name, found) for name, found in curves.items() if found])
    return drawn


def _points(results: Sequence[Result], name: str, key: str) -> list[tuple[float, float]]:
    values: dict[int, list[float]] = {}
    for result in results:
        if result.system == name and key in result.values:
            values.setdefault(result.codebook_size, []).append(result.values[key])
    return [(math.log2(size), float(np.mean(values[size]))) for size in sorted(values)]
