"""Result folders as an evaluation leaves them, without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from doubles import NoisySystem, PeakMetric

from codec.evaluation import Metric, Protocol
from codec.evaluation.metric import definitions
from codec.evaluation.records import Record, Store
from codec.evaluation.report import write_report
from codec.evaluation.runner import Outcome
from codec.evaluation.summary import summarize
from codec.evaluation.systems import Rate
from codec.evaluation.versions import versions

SETTINGS = {"system": "noisy", "test_set": "40 utterances", "protocol": "strict"}


def result_folder(
    folder: Path,
    records: Sequence[Record],
    *,
    name: str = "noisy",
    metrics: Sequence[Metric] = (PeakMetric(),),
    unavailable: dict[str, str] | None = None,
    rate: Rate | None = None,
    set_name: str = "set",
    **settings: str,
) -> Path:
    """Write records, settings and summary of a system called ``name``."""
    store = Store(folder)
    store.open({**SETTINGS, **settings})
    with store.part(0) as part:
        for record in records:
            part.add(record)
    store.collect()
    system = NoisySystem()
    system.name, system.rate = name, rate  # type: ignore[misc, assignment]
    outcome = Outcome(
        {record.id: record for record in records},
        definitions(metrics),
        unavailable or {},
        versions(system),
        Protocol(settings.get("protocol", "strict")),
    )
    write_report(folder, summarize(system, outcome, set_name))
    return folder


def scored(values: Sequence[float], speakers: Sequence[str] = ("s",), **more: float) -> list[Record]:
    """One record a value, by the speakers in turn."""
    return [
        Record(f"u{n:02}", speakers[n % len(speakers)], 1.0, {"peak": value, **more}) for n, value in enumerate(values)
    ]
