"""One report of what several bottlenecks reach: tables with intervals over seeds, and curves over the rate.

Results are JSON lines, one a run: ``system``, ``codebook_size`` and ``seed``; ``source`` where there are several (sets
of latents, test sets); and numbers by name, those of :data:`VALUES` in their order. ``egs/collapse/plain.py`` writes
such.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from codec.charts import Curve, line_chart
from codec.errors import CodecError
from codec.pages import document
from codec.quantizers import REGISTRY

VALUES = {  # key -> heading, digits, whether less is better (None: neither)
    "distortion": ("squared error", 4, True),
    "pesq": ("PESQ-WB", 3, False),
    "stoi": ("STOI", 3, False),
    "mel": ("log-mel", 3, True),
    "codes_used": ("codes used", 0, None),
    "perplexity": ("perplexity", 0, None),
    "entropy_bits": ("entropy (bits)", 2, None),
    "codes_used_on_c": ("used on C", 0, None),
    "effective_dimension": ("effective dimension", 0, None),
}
LEVEL = 0.95
CURVES = 4  # in a chart: as many colours as the page has
STYLE = "th, td { white-space: nowrap; } figure { margin: 0; }"


@dataclass(frozen=True)
class Result:
    """A run."""

    system: str
    codebook_size: int
    seed: int
    source: str
    values: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """A number over seeds."""

    mean: float
    half_width: float | None  # of the 95 % t-interval; None from a single seed

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Mean and interval."""
        if len(values) < 2:
            return cls(float(np.mean(values)), None)
        spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return cls(float(np.mean(values)), float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * spread)

    def text(self, digits: int) -> str:
        """0.123 ± 0.004."""
        mean = f"{self.mean:,.{digits}f}"
        return mean if self.half_width is None else f"{mean} ± {self.half_width:,.{digits}f}"


def read_results(paths: Iterable[Path]) -> list[Result]:
    """All runs of several files.

    Raises:
        CodecError: a file that cannot be read or has nothing in it, a line that is no run, or a run that occurs twice.
    """
    found: dict[tuple[str, str, int, int], Result] = {}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CodecError(f"{path}: cannot be read ({error}); give a file of results as JSON lines") from None
        for number, line in enumerate(lines, start=1):
            result = _parse(line, f"{path}, line {number}")
            key = (result.source, result.system, result.codebook_size, result.seed)
            if key in found:
                raise CodecError(f"{path}, line {number}: {key} occurs twice; give each run once")
            found[key] = result
    if not found:
        raise CodecError("no results in any of the files; run egs/collapse/plain.py first")
    return list(found.values())


def _parse(line: str, where: str) -> Result:
    try:
        data: Any = json.loads(line)
    except ValueError:
        raise CodecError(f"{where}: not JSON; expected one run a line") from None
    kinds = {"system": str, "codebook_size": int, "seed": int}
    wrong = [key for key, kind in kinds.items() if not isinstance(data, dict) or type(data.get(key)) is not kind]
    if wrong or data["codebook_size"] < 1:
        raise CodecError(f"{where}: expected system (a name), codebook_size (from 1 on) and seed (whole numbers)")
    values = {key: data[key] for key in VALUES if key in data}
    if bad := [key for key, value in values.items() if type(value) not in (int, float) or not math.isfinite(value)]:
        raise CodecError(f"{where}: {bad[0]}={values[bad[0]]!r}: expected a finite number")
    if not values:
        raise CodecError(f"{where}: has none of {', '.join(VALUES)}")
    return Result(data["system"], data["codebook_size"], data["seed"], str(data.get("source", "")), values)


@dataclass(frozen=True)
class Table:
    """One source at one rate: a row a system, the best by the first value first."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def tables(results: Sequence[Result]) -> list[Table]:
    """By source, and within it by rising codebook size."""
    made = []
    for source in dict.fromkeys(result.source for result in results):
        for size in sorted({result.codebook_size for result in results if result.source == source}):
            here = [r for r in results if (r.source, r.codebook_size) == (source, size)]
            keys = [key for key in VALUES if any(key in result.values for result in here)]
            systems = dict.fromkeys(result.system for result in here)
            groups = {name: [result for result in here if result.system == name] for name in systems}
            rank = {name: _rank(group, keys[0]) for name, group in groups.items()}
            order = sorted(groups, key=rank.__getitem__)
            rows = [[name, str(len(groups[name])), *(_cell(groups[name], key) for key in keys)] for name in order]
            title = f"{source or 'results'}, {size:,} codes ({math.log2(size):g} bits)"
            made.append(Table(title, ["system", "seeds", *(VALUES[key][0] for key in keys)], rows))
    return made


def _rank(group: Sequence[Result], key: str) -> float:
    values = [result.values[key] for result in group if key in result.values]
    if not values:
        return math.inf
    return float(np.mean(values)) * (1 if VALUES[key][2] else -1)


def _cell(group: Sequence[Result], key: str) -> str:
    values = [result.values[key] for result in group if key in result.values]
    return Summary.of(values).text(VALUES[key][1]) if values else "-"


def charts(results: Sequence[Result], systems: Sequence[str] | None = None) -> list[str]:
    """SVG elements: the first value, and the share of codes used, over the rate.

    Args:
        results: all runs.
        systems: drawn ones, at most four. None: the first four that were measured at most rates.
    """
    drawn = []
    for source in dict.fromkeys(result.source for result in results):
        here = [result for result in results if result.source == source]
        rates = {name: len({r.codebook_size for r in here if r.system == name}) for name in _names(here)}
        names = list(systems or sorted(rates, key=rates.__getitem__, reverse=True))[:CURVES]
        for key in ("distortion", "pesq", "stoi", "mel", "codes_used"):
            if any(key in result.values for result in here):
                curves = [Curve(name, _points(here, name, key)) for name in names]
                title = f"{source}: {VALUES[key][0]}".removeprefix(": ")
                drawn.append(line_chart(title, curves, x_label="bits a token", log_y=key == "codes_used"))
    return drawn


def _names(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.system for result in results))


def _points(results: Sequence[Result], name: str, key: str) -> list[tuple[float, float]]:
    values: dict[int, list[float]] = {}
    for result in results:
        if result.system == name and key in result.values:
            values.setdefault(result.codebook_size, []).append(result.values[key])
    return [(math.log2(size), float(np.mean(values[size]))) for size in sorted(values)]


def described(results: Sequence[Result]) -> dict[str, str]:
    """What each system of the registry is, in the first paragraph of its class; variants have their system's prefix."""
    found = {}
    for name in _names(results):
        if kind := REGISTRY.get(name):
            found[name] = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
    return found


NOTE = (
    "Means over seeds with 95 % t-intervals (none from one seed); the best by the first value first. Equal "
    "codebook sizes are equal rates, all codebooks of a system counted."
)


def markdown(results: Sequence[Result]) -> str:
    """The report for a document."""
    parts = [NOTE + "\n"]
    for table in tables(results):
        parts.append(f"### {table.title}\n")
        parts.append("| " + " | ".join(table.headings) + " |\n|---|" + "---:|" * (len(table.headings) - 1))
        parts[-1] += "".join("\n| " + " | ".join(row) + " |" for row in table.rows) + "\n"
    parts.append("### The systems\n")
    parts += [f"**{name}**: {text}\n" for name, text in described(results).items()]
    return "\n".join(parts)


def html(results: Sequence[Result], systems: Sequence[str] | None = None) -> str:
    """The report as a page that is one file."""
    parts = [f"<h1>Bottlenecks</h1><p>{escape(NOTE)}</p><div class='charts'>"]
    parts += [f"<figure>{chart}</figure>" for chart in charts(results, systems)]
    parts.append("</div>")
    for table in tables(results):
        head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
        parts.append(f"<h2>{escape(table.title)}</h2><div class='scroll'><table><tr>{head}</tr>{rows}</table></div>")
    parts.append("<h2>The systems</h2>")
    parts += [f"<p><b>{escape(name)}</b>: {escape(text)}</p>" for name, text in described(results).items()]
    return document("Bottlenecks", "".join(parts), style=STYLE)
