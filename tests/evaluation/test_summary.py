from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from doubles import NoisySystem, PeakMetric

from codec.evaluation.metric import definitions
from codec.evaluation.records import Record
from codec.evaluation.report import as_markdown, write_report
from codec.evaluation.runner import Outcome
from codec.evaluation.summary import bootstrap_interval, summarize, summarize_rate, summarize_value
from codec.evaluation.systems import Rate
from codec.evaluation.versions import versions

RECORDS = [
    Record("a", "x", 1.0, {"peak": 1.0, "half_peak": 0.5}),
    Record("b", "x", 1.0, {"peak": 2.0, "half_peak": 1.0}),
    Record("c", "y", 2.0, {"peak": 6.0}, {"half_peak": "too long"}),
    Record("d", "y", 2.0, {"half_peak": 3.0}, {"peak": "silent"}),
    Record("e", "y", 1.0, error="e.wav: no such file"),
]


def test_failures_are_counted_and_left_out_of_the_mean() -> None:
    result = summarize_value("peak", RECORDS)
    assert result["mean"] == 3.0
    assert (result["n_ok"], result["n_failed"]) == (3, 2)
    assert result["failures"] == {"no reconstruction": 1, "silent": 1}
    assert result["speaker_mean"] == (1.5 + 6.0) / 2
    assert result["ci95"][0] <= 3.0 <= result["ci95"][1]


def test_nothing_scored_is_no_number() -> None:
    result = summarize_value("peak", [Record("a", "x", 1.0, failures={"peak": "silent"})])
    assert (result["mean"], result["ci95"], result["speaker_mean"], result["n_ok"]) == (None, None, None, 0)


def test_bootstrap_interval_is_that_of_a_mean() -> None:
    scores = np.random.default_rng(1).normal(2.0, 0.5, size=400).tolist()
    low, high = bootstrap_interval(scores) or (math.nan, math.nan)
    half = 1.96 * np.std(scores) / math.sqrt(400)
    assert (low, high) == pytest.approx((np.mean(scores) - half, np.mean(scores) + half), abs=0.01)
    assert bootstrap_interval(scores) == [low, high]
    assert bootstrap_interval([1.0]) is None


def test_rate_counts_tokens_over_the_whole_set() -> None:
    rate = Rate(codebook_size=8, frame_rate=75.0, bitrate_bps=225.0)
    records = [Record("a", "x", 1.0, tokens=[0, 0, 1]), Record("b", "x", 2.0, tokens=[2, 3, 3, 1, 2]), RECORDS[-1]]
    facts = summarize_rate(rate, records)
    assert facts["codes_used"] == 4
    assert facts["tokens"] == 8
    assert facts["entropy_bits"] == pytest.approx(2.0)
    assert facts["perplexity"] == pytest.approx(4.0)
    assert facts["normalized_entropy"] == pytest.approx(2 / 3)
    assert facts["entropy_bps"] == pytest.approx(150.0)
    assert facts["tokens_per_second"] == pytest.approx(8 / 3)
    assert summarize_rate(rate, [RECORDS[-1]])["tokens"] == 0


def outcome(records: list[Record]) -> Outcome:
    unavailable = {"utmos": "not here: fetch it"}
    found = {record.id: record for record in records}
    return Outcome(found, definitions([PeakMetric()]), unavailable, versions(NoisySystem()))


def test_the_order_of_records_changes_no_digit() -> None:
    generator = random.Random(3)
    records = [Record(f"u{n}", f"s{n % 5}", 1 + generator.random(), {"peak": generator.random()}) for n in range(99)]
    first = json.dumps(summarize(NoisySystem(), outcome(records), "set"))
    generator.shuffle(records)
    assert json.dumps(summarize(NoisySystem(), outcome(records), "set")) == first


def test_report_says_what_was_scored_what_failed_and_what_is_missing(tmp_path: Path) -> None:
    summary = summarize(NoisySystem(), outcome(RECORDS), "five")
    write_report(tmp_path, summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    text = (tmp_path / "summary.md").read_text()
    assert text == as_markdown(summary)
    assert "# noisy on five" in text
    assert "| peak ↑ | 3.000 |" in text and "| 3 | 2 |" in text
    assert "| utmos | not available |" in text and "utmos: not available: not here: fetch it" in text
    assert "- peak: silent (1)" in text and "- e: e.wav: no such file" in text
    assert "torchcrepe 0" in text
    assert summary["per_speaker"]["x"] == {"utterances": 2, "peak": 1.5, "half_peak": 0.75}
