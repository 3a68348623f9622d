"""Two systems on the same utterances: paired differences, and whether they are more than chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codec.errors import CodecError
from codec.evaluation.records import RECORDS_FILE, SCORED_WITH, SETTINGS_FILE, Record, Store
from codec.evaluation.significance import LEVEL, paired_interval, sign_flip_p
from codec.files import read_json

SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class Evaluation:
    """One result folder."""

    name: str  # of the system
    settings: Mapping[str, Any]
    definitions: Mapping[str, Mapping[str, Any]]  # value -> label, unit, better, digits
    records: Mapping[str, Record]
    folder: Path
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> Evaluation:
        """Read what ``recipes/evaluate.py`` wrote.

        Raises:
            CodecError: no finished evaluation, or a damaged one; a summary that is not that of the scores.
        """
        folder = Path(folder)
        advice = "score with recipes/evaluate.py first"
        settings, summary = (read_json(folder / name, advice) for name in (SETTINGS_FILE, SUMMARY_FILE))
        records = Store(folder).records()
        if not records or not {"system", "definitions"} <= summary.keys():
            raise CodecError(f"{folder}: no scores in {RECORDS_FILE}; score with recipes/evaluate.py first")
        _check_summary(folder, settings, summary, records)
        return cls(summary["system"]["name"], settings, summary["definitions"], records, folder, summary)


@dataclass(frozen=True)
class Difference:
    """Of one value, over the utterances that have it in both."""

    value: str
    definition: Mapping[str, Any]
    pairs: int
    left_out: int  # utterances that lack it in one or both
    mean_a: float
    mean_b: float
    difference: float  # mean of B - A
    ci95: tuple[float, float] | None  # None, as p: of one pair
    p: float | None  # two-sided

    @property
    def better(self) -> str:
        """``A`` or ``B`` where the difference is significant, else nothing."""
        if self.p is None or self.p >= LEVEL or self.difference == 0:
            return ""
        return "B" if (self.difference > 0) == (self.definition["better"] == "higher") else "A"


def distinct_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Their systems' names; where several have one name, such as two runs of one system, with the folder of each."""
    count = Counter(evaluation.name for evaluation in evaluations)
    return [e.name if count[e.name] == 1 else f"{e.name} ({e.folder})" for e in evaluations]


def require_alike(a: Evaluation, b: Evaluation) -> None:
    """Refuse what no table or difference may hold together.

    Raises:
        CodecError: scores of different test sets, recordings or protocols, or of a metric with other weights or texts.
    """
    name_a, name_b = distinct_names([a, b])
    for key, what in (("test_set", "test set"), ("protocol", "protocol")):
        if a.settings.get(key) != b.settings.get(key):
            raise CodecError(
                f"{name_a} and {name_b} were scored with another {what} each ({a.settings.get(key)}, "
                f"{b.settings.get(key)}); score both alike"
            )
    for value in sorted(a.definitions.keys() & b.definitions.keys()):
        ours, theirs = (evaluation.definitions[value].get("weights_sha256") for evaluation in (a, b))
        if ours != theirs:
            raise CodecError(
                f"{value} of {name_a} and {name_b} comes from other weights each ({ours}, {theirs}); score both alike"
            )
        for fact, what in (("texts", "is against other texts"), ("definition", "has another definition")):
            noted = [evaluation.settings.get(SCORED_WITH, {}).get(value, {}).get(fact) for evaluation in (a, b)]
            if noted[0] != noted[1]:
                raise CodecError(f"{value} of {name_a} and {name_b} {what} each; score both alike")
    other = [
        id_
        for id_ in sorted(a.records.keys() & b.records.keys())
        if None not in (heard := {evaluation.records[id_].recording for evaluation in (a, b)}) and len(heard) > 1
    ]
    if other:
        raise CodecError(
            f"{name_a} and {name_b} were scored on other recordings of the same ids ({other[0]}"
            f"{f' and {len(other) - 1} more' if len(other) > 1 else ''}); score both on the same ones"
        )


def _check_summary(
    folder: Path, settings: Mapping[str, Any], summary: Mapping[str, Any], records: Mapping[str, Record]
) -> None:
    """Refuse a summary of other scores: of a run that was killed, or of a system that stood there before."""
    parts = {"test_set", "protocol", "metrics", "definitions", "not_available", "rate", "per_speaker", "versions"}
    complete = parts <= summary.keys() and summary["utterances"] == len(records)
    same = summary["system"]["identity"] == settings.get("system")
    if not (complete and same) or any(
        result["n_ok"] != sum(value in record.scores for record in records.values())
        for value, result in summary["metrics"].items()
    ):
        raise CodecError(
            f"{folder}: its summary is not that of its scores; run recipes/evaluate.py on it again, which scores only "
            "what is missing"
        )


def compare(a: Evaluation, b: Evaluation) -> list[Difference]:
    """Differences B - A of every value that both have.

    Raises:
        CodecError: what :func:`require_alike` raises, or nothing in common.
    """
    require_alike(a, b)
    differences = []
    for value, definition in a.definitions.items():
        ids = sorted(a.records.keys() | b.records.keys())
        paired = [id_ for id_ in ids if _has(a, id_, value) and _has(b, id_, value)]
        if value not in b.definitions or not paired:
            continue
        scores_a, scores_b = (
            np.asarray([evaluation.records[id_].scores[value] for id_ in paired]) for evaluation in (a, b)
        )
        weights = None
        if weight := definition.get("weight"):  # of the references, so that both systems have the same
            weights = np.asarray([a.records[id_].scores[weight] for id_ in paired])
        apart = scores_b - scores_a
        differences.append(
            Difference(
                value,
                definition,
                len(paired),
                len(ids) - len(paired),
                float(np.average(scores_a, weights=weights)),
                float(np.average(scores_b, weights=weights)),
                float(np.average(apart, weights=weights)),
                paired_interval(apart, weights),
                sign_flip_p(apart, weights),
            )
        )
    if not differences:
        names = " and ".join(distinct_names([a, b]))
        raise CodecError(f"{names} have no scored utterance and metric in common; score both alike")
    return differences


def _has(evaluation: Evaluation, id_: str, value: str) -> bool:
    record = evaluation.records.get(id_)
    return record is not None and value in record.scores


def table_rows(differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    """Rows for people: metric, A, B, B - A, 95 % interval, p, better, pairs."""
    rows: list[tuple[str, ...]] = []
    for found in differences:
        digits = found.definition["digits"]
        unit = f" ({found.definition['unit']})" if found.definition["unit"] else ""
        interval = "-" if found.ci95 is None else f"{found.ci95[0]:+.{digits}f} to {found.ci95[1]:+.{digits}f}"
        rows.append(
            (
                f"{found.definition['label']}{unit}",
                f"{found.mean_a:.{digits}f}",
                f"{found.mean_b:.{digits}f}",
                f"{found.difference:+.{digits}f}",
                interval,
                "-" if found.p is None else f"{found.p:.4f}",
                found.better or "-",
                f"{found.pairs} of {found.pairs + found.left_out}",
            )
        )
    return rows
