"""Tables of runs: means with intervals over seeds, a row a system, the best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from codec.evaluation.bottlenecks.results import VALUES, Result

LEVEL = 0.95


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
        """0.123 ± 0.004; without the latter where seeds make no difference."""
        mean = f"{self.mean:,.{digits}f}"
        return mean if not self.half_width else f"{mean} ± {self.half_width:,.{digits}f}"


@dataclass(frozen=True)
class Table:
    """One source at one rate: a row a system, the best by the first value first."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]  # what failed


def grouped(results: Sequence[Result]) -> list[tuple[Table, list[Result]]]:
    """Each table with its runs: by source, and within it by rising codebook size."""
    found = []
    for source in dict.fromkeys(result.source for result in results):
        for size in sorted({result.codebook_size for result in results if result.source == source}):
            here = [result for result in results if (result.source, result.codebook_size) == (source, size)]
            found.append((_table(here), here))
    return found


def system_names(results: Sequence[Result]) -> list[str]:
    """Each once, in the order of the runs."""
    return list(dict.fromkeys(result.system for result in results))


def _table(here: Sequence[Result]) -> Table:
    keys = [key for key in VALUES if any(key in result.values for result in here)]
    groups = {name: [result for result in here if result.system == name] for name in system_names(here)}
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
