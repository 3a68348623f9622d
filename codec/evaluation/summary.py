"""From the records of single utterances to the numbers of a test set.

Everything is computed from the records sorted by id, in that order, with exact sums: the same records give the same
summary to the last digit, however many processes made them.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from codec.evaluation.records import Record
from codec.evaluation.runner import Outcome
from codec.evaluation.systems import Rate, System
from codec.quantizers.usage import CodeUsage

RESAMPLES = 1000
SEED = 20241  # of the bootstrap


def summarize(system: System, outcome: Outcome, test_set: str, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """The content of ``summary.json``. ``left_out``: what of the manifest was not scored, a reason each."""
    records = [outcome.records[id_] for id_ in sorted(outcome.records)]
    weights = {value: shown.get("weight") for value, shown in outcome.definitions.items()}
    return {
        "system": {"name": system.name, "identity": system.identity, "sample_rate": system.sample_rate},
        "test_set": test_set,
        "protocol": str(outcome.protocol),
        "utterances": len(records),
        "speakers": len({record.speaker for record in records}),
        "duration_s": math.fsum(record.duration_s for record in records),
        "left_out": list(left_out),
        "errors": {record.id: record.error for record in records if record.error is not None},
        "metrics": {value: summarize_value(value, records, weight) for value, weight in weights.items()},
        "definitions": outcome.definitions,
        "not_available": outcome.unavailable,
        "rate": summarize_rate(system.rate, records) if system.rate else None,
        "per_speaker": _per_speaker(weights, records),
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED},
        "versions": outcome.versions,
    }


def summarize_value(value: str, records: Sequence[Record], weight: str | None = None) -> dict[str, Any]:
    """Mean over the utterances that have the value, with what is left out and why.

    ``speaker_mean`` averages the speakers' means: a test set in which few speakers have most utterances says more
    about those few otherwise. ``weight`` names the count by which utterances weigh in every mean: a word error rate is
    that of all words together, as its literature has it.
    """
    scored = [record for record in records if value in record.scores]
    scores = [record.scores[value] for record in scored]
    weights = [record.scores[weight] for record in scored] if weight else None
    reasons = Counter(
        record.failures.get(value, "not scored yet" if record.error is None else "no reconstruction")
        for record in records
        if value not in record.scores
    )
    speakers = _speaker_means(value, records, weight)
    return {
        "mean": _mean(scores, weights),
        "ci95": bootstrap_interval(scores, weights),
        "speaker_mean": _mean(list(speakers.values())),
        "n_ok": len(scores),
        "n_failed": sum(reasons.values()),
        "failures": dict(sorted(reasons.items())),
    }


def summarize_rate(rate: Rate, records: Sequence[Record]) -> dict[str, Any]:
    """Bits, and how the codebook is used over the whole test set (nothing is averaged over utterances)."""
    facts: dict[str, Any] = {"bitrate_bps": rate.bitrate_bps}
    written = [record for record in records if record.file_bytes is not None]
    if written:
        coded_bytes = sum(record.file_bytes or 0 for record in written)
        facts["file_bps"] = 8 * coded_bytes / math.fsum(record.duration_s for record in written)
    if rate.codebook_size is not None and rate.frame_rate is not None:
        facts |= _token_facts(rate.codebook_size, rate.frame_rate, records)
    return facts


def _token_facts(codebook_size: int, frame_rate: float, records: Sequence[Record]) -> dict[str, Any]:
    usage = CodeUsage(codebook_size)
    seconds = math.fsum(record.duration_s for record in records if record.tokens is not None)
    for record in records:
        if record.tokens is not None:
            usage.update(torch.tensor(record.tokens, dtype=torch.int64))
    tokens = usage.total()
    if not tokens:
        return {"codebook_size": codebook_size, "tokens": 0}
    facts = usage.summary()
    return {
        "codebook_size": codebook_size,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        **facts,
        # What a perfect entropy coder without context would spend.
        "entropy_bps": facts["entropy_bits"] * frame_rate,
    }


def bootstrap_interval(scores: Sequence[float], weights: Sequence[float] | None = None) -> list[float] | None:
    """95 % percentile interval of the (weighted) mean over resampled utterances; None for fewer than two."""
    if len(scores) < 2:
        return None
    values = np.asarray(scores)
    generator = np.random.default_rng(SEED)
    shares = None if weights is None else np.asarray(weights)
    means = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(len(values), size=len(values))
        means.append(float(np.average(values[drawn], weights=None if shares is None else shares[drawn])))
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(high)]


def _mean(scores: Sequence[float], weights: Sequence[float] | None = None) -> float | None:
    if not scores:
        return None
    if weights is None:
        return math.fsum(scores) / len(scores)
    return math.fsum(map(operator.mul, scores, weights)) / math.fsum(weights)


def _speaker_means(value: str, records: Sequence[Record], weight: str | None) -> dict[str, float]:
    by_speaker: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        if value in record.scores:
            share = record.scores[weight] if weight else 1.0
            by_speaker.setdefault(record.speaker, []).append((record.scores[value], share))
    return {
        speaker: math.fsum(score * share for score, share in scores) / math.fsum(share for _, share in scores)
        for speaker, scores in sorted(by_speaker.items())
    }


def _per_speaker(weights: Mapping[str, str | None], records: Sequence[Record]) -> dict[str, dict[str, float]]:
    counts = Counter(record.speaker for record in records)
    table: dict[str, dict[str, float]] = {name: {"utterances": counts[name]} for name in sorted(counts)}
    for value, weight in weights.items():
        for speaker, mean in _speaker_means(value, records, weight).items():
            table[speaker][value] = mean
    return table
