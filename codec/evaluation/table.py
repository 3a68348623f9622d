"""One table of several systems: ours, the peers, and what others have published.

Every number of a scored row is that of its ``summary.json``; nothing is computed twice. Rows that are quoted have no
utterances, and stand in no difference.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from codec.errors import CodecError
from codec.evaluation.compare import Difference, Evaluation, compare, distinct_names, require_alike
from codec.evaluation.quoted import Quoted, quoted_test_sets, read_quoted
from codec.evaluation.records import RECORDS_FILE
from codec.evaluation.registry import METRICS, MetricOptions
from codec.evaluation.speed import MeasuredSpeed, read_speed
from codec.evaluation.summary import bootstrap_interval
from codec.evaluation.table_notes import comparison_notes, versions_used
from codec.evaluation.unavailable import read_unavailable

NO_QUOTED = "none"


class Average(StrEnum):
    """What a mean is over."""

    UTTERANCES = "utterances"
    SPEAKERS = "speakers"  # of the speakers' means; intervals are then over speakers too


@dataclass(frozen=True)
class Column:
    """One value, as all systems have it."""

    label: str
    unit: str
    better: str  # higher, lower
    digits: int


@dataclass(frozen=True)
class Cell:
    """One value of one system."""

    mean: float | None = None
    ci95: tuple[float, float] | None = None
    n_ok: int = 0
    n_failed: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)  # reason -> utterances
    missing: str | None = (
        None  # why there is no number: "not scored", "no score" (all failed), "not available: ...", "not published"
    )


@dataclass(frozen=True)
class Row:
    """One system."""

    name: str
    kind: Literal["scored", "quoted", "not available"]
    cells: Mapping[str, Cell]
    bitrate_bps: float | None = None
    file_bps: float | None = None
    codes_used_percent: float | None = None
    source: str = ""  # folder of the scores, or citation
    test_set: str = ""  # of a quoted row
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # identity, sample rate, all of the rate, versions
    speed: MeasuredSpeed | None = None  # where it was timed


@dataclass(frozen=True)
class SystemTable:
    """Several systems on one test set."""

    test_set: str
    protocol: str
    utterances: int
    speakers: int
    duration_s: float
    average: Average
    columns: Mapping[str, Column]
    rows: Sequence[Row]
    notes: Sequence[str]
    versions: Mapping[str, Mapping[str, list[str]]]  # library -> version -> systems
    bootstrap: Mapping[str, int]
    against: str | None = None  # the system that all are compared with
    differences: Mapping[str, Sequence[Difference]] = field(default_factory=dict)  # system -> it minus ``against``

    @property
    def scored(self) -> list[Row]:
        """Rows with utterances of their own."""
        return [row for row in self.rows if row.kind == "scored"]


@dataclass(frozen=True)
class Runs:
    """What several result folders hold, under names that differ."""

    evaluations: Mapping[str, Evaluation]  # by the name in the table
    unavailable: Mapping[str, str]  # system -> why it could not be scored
    speeds: Mapping[str, MeasuredSpeed | None] = field(default_factory=dict)  # by the name in the table

    @classmethod
    def read(cls, folders: Iterable[str | Path]) -> Runs:
        """Read the folders that ``recipes/evaluate.py`` wrote.

        Raises:
            CodecError: a folder twice, or without scores; scores that may not stand in one table; a summary that is
                older than its scores; a damaged file.
        """
        evaluations: list[Evaluation] = []
        unavailable: dict[str, str] = {}
        seen: set[Path] = set()
        for folder in map(Path, folders):
            if folder.resolve() in seen:
                raise CodecError(f"{folder}: given twice; give each folder of scores once")
            seen.add(folder.resolve())
            note = None if (folder / RECORDS_FILE).exists() else read_unavailable(folder)
            if note is not None:
                unavailable[note[0]] = note[1]
                continue
            evaluations.append(Evaluation.read(folder))
        if not evaluations:
            reasons = "; ".join(unavailable.values()) or "no folder given"
            raise CodecError(f"nothing is scored ({reasons}); score a system with recipes/evaluate.py first")
        for other in evaluations[1:]:
            require_alike(evaluations[0], other)
        by_name = dict(zip(distinct_names(evaluations), evaluations, strict=True))
        speeds = {name: read_speed(evaluation.folder) for name, evaluation in by_name.items()}
        return cls(by_name, unavailable, speeds)

    def named(self, folder: str | Path) -> str:
        """Name of the evaluation in ``folder``.

        Raises:
            CodecError: it is none of them.
        """
        for name, evaluation in self.evaluations.items():
            if evaluation.folder.resolve() == Path(folder).resolve():
                return name
        raise CodecError(f"{folder}: none of the folders of the table; give one of those")


def build_table(
    runs: Runs,
    *,
    average: Average = Average.UTTERANCES,
    quoted: str | None = None,
    values: Sequence[str] | None = None,
    against: str | None = None,
) -> SystemTable:
    """Set systems beside each other.

    Args:
        runs: what is scored.
        average: what means and intervals are over.
        quoted: the LibriTTS test set whose published rows are added; ``none``: no such rows; None: the runs' own, if
            there are any of it.
        values: columns, in this order; None: all that any of the runs has or misses.
        against: name of the run that all others are compared with, pair by pair; None: no differences.

    Raises:
        CodecError: an unknown test set or value (the nearest is suggested).
    """
    first = next(iter(runs.evaluations.values()))
    columns = _columns(runs, values)
    published = _quoted_rows(quoted, first.summary["test_set"])
    rows_quoted = [row for row in published if row.scores.keys() & columns.keys()]
    rows = [
        _scored_row(name, evaluation, columns, average, runs.speeds.get(name))
        for name, evaluation in runs.evaluations.items()
    ]
    rows += [
        Row(name, "not available", {value: Cell(missing="not scored") for value in columns}, note=reason)
        for name, reason in runs.unavailable.items()
    ]
    rows += [_quoted_row(row, columns) for row in rows_quoted]
    differences = {}
    if against is not None:
        base = runs.evaluations[against]
        differences = {
            name: [found for found in compare(base, evaluation) if found.value in columns]
            for name, evaluation in runs.evaluations.items()
            if name != against
        }
    return SystemTable(
        test_set=first.summary["test_set"],
        protocol=first.summary["protocol"],
        utterances=len(first.records),
        speakers=len({record.speaker for record in first.records.values()}),
        duration_s=first.summary["duration_s"],
        average=average,
        columns=columns,
        rows=rows,
        notes=comparison_notes(
            runs.evaluations,
            {value: column.label for value, column in columns.items()},
            rows_quoted,
            first.summary["protocol"],
        ),
        versions=versions_used(runs.evaluations),
        bootstrap=first.summary["bootstrap"],
        against=against,
        differences=differences,
    )


@cache
def known_values() -> dict[str, tuple[str, Column]]:
    """Every value that some metric gives, in the order of the reports: (name of its metric, how it is shown)."""
    options = MetricOptions(24_000)
    return {
        value: (name, Column(shown.label, shown.unit, shown.better, shown.digits))
        for name, build in METRICS.items()
        for value, shown in build(options).values.items()
    }


def _columns(runs: Runs, values: Sequence[str] | None) -> dict[str, Column]:
    """Values that a run has, or that belong to a metric which a run says is not available."""
    known = known_values()
    missing = {name for evaluation in runs.evaluations.values() for name in evaluation.summary["not_available"]}
    found = {value: column for value, (metric, column) in known.items() if metric in missing}
    for evaluation in runs.evaluations.values():
        for value, shown in evaluation.definitions.items():
            found[value] = Column(shown["label"], shown["unit"], shown["better"], shown["digits"])
    order = [*known, *(value for value in found if value not in known)]  # metrics of others come last
    if values is None:
        return {value: found[value] for value in order if value in found}
    for value in values:
        if value not in found:
            close = difflib.get_close_matches(value.lower(), found, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]}?" if close else f"these runs have {', '.join(found)}"
            raise CodecError(f"unknown value {value!r}; {hint}")
    return {value: found[value] for value in dict.fromkeys(values)}


def _scored_row(
    name: str,
    evaluation: Evaluation,
    columns: Mapping[str, Column],
    average: Average,
    speed: MeasuredSpeed | None,
) -> Row:
    summary = evaluation.summary
    rate = summary["rate"] or {}
    share = rate["codes_used"] / rate["codebook_size"] if rate.get("tokens") else None
    return Row(
        name,
        "scored",
        {value: _cell(value, summary, average) for value in columns},
        rate.get("bitrate_bps"),
        rate.get("file_bps"),
        None if share is None else 100 * share,
        source=str(evaluation.folder),
        facts={**{key: summary["system"][key] for key in ("identity", "sample_rate")}, "rate": summary["rate"]},
        speed=speed,
    )


def _cell(value: str, summary: Mapping[str, Any], average: Average) -> Cell:
    result = summary["metrics"].get(value)
    if result is None:
        metric = known_values().get(value, (value,))[0]
        reason = summary["not_available"].get(metric)
        return Cell(missing="not scored" if reason is None else f"not available: {reason}")
    mean, interval = result["mean"], result["ci95"]
    if average is Average.SPEAKERS:
        mean = result["speaker_mean"]
        interval = bootstrap_interval([means[value] for means in summary["per_speaker"].values() if value in means])
    return Cell(
        mean,
        None if interval is None else (interval[0], interval[1]),
        result["n_ok"],
        result["n_failed"],
        result["failures"],
        None if mean is not None else "no score",
    )


def _quoted_rows(quoted: str | None, test_set: str) -> list[Quoted]:
    known = quoted_test_sets()
    if quoted is None:
        quoted = test_set if test_set in known else NO_QUOTED
    if quoted not in (*known, NO_QUOTED):
        raise CodecError(f"no published rows for {quoted!r}; known are {', '.join(known)} and {NO_QUOTED}")
    return [row for row in read_quoted() if row.test_set == quoted]


def _quoted_row(row: Quoted, columns: Mapping[str, Column]) -> Row:
    cells = {
        value: Cell(row.scores[value]) if value in row.scores else Cell(missing="not published") for value in columns
    }
    return Row(
        row.system,
        "quoted",
        cells,
        row.bitrate_bps,
        None,
        row.codes_used_percent,
        source=row.source,
        test_set=f"LibriTTS {row.test_set}",
        note=row.note,
    )
