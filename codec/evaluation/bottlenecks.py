"""One report of what several bottlenecks reach: tables with intervals over seeds, curves, and maps of the codes.

Results are JSON lines, one a run: ``system``, ``codebook_size`` and ``seed``; ``source`` where there are several (sets
of latents, test sets); and numbers by name, those of :data:`VALUES` in their order. A line may also have

- ``use``: [[step, codes used], ...], over training;
- ``map``: :meth:`codec.evaluation.code_maps.CodeMap.to_json`;
- ``failed``: why the run has no numbers.

``egs/collapse/plain.py`` and ``egs/collapse/codec_results.py`` write such.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from codec.charts import Curve, line_chart
from codec.errors import CodecError
from codec.evaluation.bottleneck_guide import paragraph
from codec.evaluation.code_maps import CodeMap, draw_maps
from codec.pages import document
from codec.pages.document import data_uri

VALUES = {  # key -> heading, digits, whether less is better (None: neither)
    "distortion": ("squared error", 4, True),
    "stoi": ("STOI", 3, False),
    "pesq": ("PESQ-WB", 3, False),  # not first: after minutes of training it hardly tells systems apart
    "mel": ("log-mel", 3, True),
    "codes_used": ("codes used", 0, None),
    "perplexity": ("perplexity", 0, None),
    "entropy_bits": ("entropy (bits)", 2, None),
    "codes_used_on_c": ("used on C", 0, None),
    "effective_dimension": ("effective dimension of the codes", 0, None),
    "latent_dimension": ("of the latents", 0, None),
    "cpu_s": ("CPU time (s)", 1, None),
}
MEASURED = [key for key in VALUES if key != "cpu_s"]  # a run that has none of these says nothing
LEVEL = 0.95
CURVES = 4  # in a chart: as many colours as the page has
STYLE = "th, td { white-space: nowrap; } figure { margin: 0; } img { max-width: 100%; }"


@dataclass(frozen=True)
class Result:
    """A run."""

    system: str
    codebook_size: int
    seed: int
    source: str
    values: dict[str, float]
    use: list[tuple[float, float]] = field(default_factory=list)  # step, codes used
    map: CodeMap | None = None
    failed: str = ""


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
    if bad := [key for key, value in values.items() if not _is_number(value)]:
        raise CodecError(f"{where}: {bad[0]}={values[bad[0]]!r}: expected a finite number")
    failed = str(data.get("failed", ""))
    if not failed and not any(key in values for key in MEASURED):
        raise CodecError(f"{where}: has none of {', '.join(MEASURED)}")
    return Result(data["system"], data["codebook_size"], data["seed"], str(data.get("source", "")), values,
                  _use(data.get("use", []), where), _map(data.get("map"), where), failed)  # fmt: skip


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _use(points: Any, where: str) -> list[tuple[float, float]]:
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point)) for point in points
    ):
        raise CodecError(f"{where}: use: expected [[step, codes used], ...]")
    return [(step, codes) for step, codes in points]


def _map(data: Any, where: str) -> CodeMap | None:
    try:
        return None if data is None else CodeMap.from_json(data)
    except ValueError as error:
        raise CodecError(f"{where}: map: {error}; expected points, uses and share of the same codes") from None


@dataclass(frozen=True)
class Table:
    """One source at one rate: a row a system, the best by the first value first."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]  # what failed


def tables(results: Sequence[Result]) -> list[Table]:
    """By source, and within it by rising codebook size."""
    return [_table(group) for group in _groups(results)]


def _table(here: Sequence[Result]) -> Table:
    keys = [key for key in VALUES if any(key in result.values for result in here)]
    groups = {name: [result for result in here if result.system == name] for name in _names(here)}
    order = sorted(groups, key=lambda name: _rank(groups[name], keys))
    rows = [[name, _seeds(groups[name]), *(_cell(groups[name], key) for key in keys)] for name in order]
    source, size = here[0].source, here[0].codebook_size
    title = f"{source or 'results'}, {size:,} codes ({math.log2(size):g} bits)"
    return Table(title, ["system", "seeds", *(VALUES[key][0] for key in keys)], rows, _failures(here))


def _seeds(group: Sequence[Result]) -> str:
    """How many have numbers."""
    failed = sum(bool(result.failed) for result in group)
    return f"{len(group) - failed}, {failed} failed" if failed else str(len(group))


def _failures(results: Sequence[Result]) -> list[str]:
    return [f"{result.system}, seed {result.seed}, failed: {result.failed}" for result in results if result.failed]


def _rank(group: Sequence[Result], keys: Sequence[str]) -> float:
    values = [result.values[keys[0]] for result in group if keys and keys[0] in result.values]
    if not values:
        return math.inf
    return float(np.mean(values)) * (1 if VALUES[keys[0]][2] else -1)


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


def grouped(results: Sequence[Result]) -> list[tuple[Table, list[Result]]]:
    """Each table with its runs."""
    return [(_table(group), group) for group in _groups(results)]


def _groups(results: Sequence[Result]) -> list[list[Result]]:
    """By source, and within it by rising codebook size."""
    found = []
    for source in dict.fromkeys(result.source for result in results):
        for size in sorted({result.codebook_size for result in results if result.source == source}):
            found.append([result for result in results if (result.source, result.codebook_size) == (source, size)])
    return found


def _names(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.system for result in results))


def _points(results: Sequence[Result], name: str, key: str) -> list[tuple[float, float]]:
    values: dict[int, list[float]] = {}
    for result in results:
        if result.system == name and key in result.values:
            values.setdefault(result.codebook_size, []).append(result.values[key])
    return [(math.log2(size), float(np.mean(values[size]))) for size in sorted(values)]


def described(results: Sequence[Result]) -> list[str]:
    """A paragraph a system, as Markdown: what it does, when to choose it, what it costs."""
    return list(dict.fromkeys(text for name in _names(results) if (text := paragraph(name))))


NOTE = (
    "Means over seeds with 95 % t-intervals (none from one seed); the best by the first value first. Equal "
    "codebook sizes are equal rates, all codebooks of a system counted."
)
MARKS = ("<!-- report: codec compare-quantizers RESULTS... -o DIR --write THIS -->", "<!-- end of report -->")
MAP_NOTE = (
    "Codes on their two main axes (SimVQ: of CW), each system to its own scale. Grey: never chosen; red: chosen, the "
    "larger the more often. One seed."
)
USE_NOTE = "Different codes in the training crops of each log interval."


def markdown(results: Sequence[Result], pictures: Mapping[str, str] | None = None, *, systems: bool = True) -> str:
    """The report for a document.

    Args:
        results: all runs.
        pictures: by the table's title, where the maps lie that are shown below it.
        systems: end with what each system is.
    """
    parts = [NOTE + "\n"]
    for table in tables(results):
        parts.append(f"### {table.title}\n")
        parts.append("| " + " | ".join(table.headings) + " |\n|---|" + "---:|" * (len(table.headings) - 1))
        parts[-1] += "".join("\n| " + " | ".join(row) + " |" for row in table.rows) + "\n"
        parts += [f"- {note}" for note in table.notes] + ([""] if table.notes else [])
        if table.title in (pictures or {}):
            parts.append(f"{MAP_NOTE}\n\n![Maps of the codes]({(pictures or {})[table.title]})\n")
    if systems:
        parts.append("### The systems\n")
        parts += [f"{text}\n" for text in described(results)]
    return "\n".join(parts)


def html(results: Sequence[Result], systems: Sequence[str] | None, pictures: Mapping[str, bytes]) -> str:
    """The report as a page that is one file.

    Args:
        results: all runs.
        systems: of the curves over the rate.
        pictures: of :func:`map_pictures`.
    """
    parts = [f"<h1>Bottlenecks</h1><p>{escape(NOTE)}</p>", _figures(charts(results, systems))]
    for table in tables(results):
        head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
        parts.append(f"<h2>{escape(table.title)}</h2><div class='scroll'><table><tr>{head}</tr>{rows}</table></div>")
        parts += [f"<p>{escape(note)}</p>" for note in table.notes]
        if table.title in pictures:
            source = data_uri("image/png", pictures[table.title])
            parts.append(f"<p>{escape(MAP_NOTE)}</p><img alt='Maps of the codes' src='{source}'>")
    if used := use_charts(results):
        parts.append(f"<h2>Use over training</h2><p>{escape(USE_NOTE)}</p>{_figures(used)}")
    parts.append("<h2>The systems</h2>")
    parts += [f"<p>{_inline(text)}</p>" for text in described(results)]
    return document("Bottlenecks", "".join(parts), style=STYLE)


def _inline(text: str) -> str:
    """Markdown of one paragraph: bold and code."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text)))


def _figures(drawn: Sequence[str]) -> str:
    return "<div class='charts'>" + "".join(f"<figure>{chart}</figure>" for chart in drawn) + "</div>"
