from __future__ import annotations

import pytest

from codec import CodecError
from codec.evaluation import METRICS, Metric, MetricOptions, build_metrics
from codec.evaluation.registry import check_names


def test_names_come_once_in_the_order_of_the_report() -> None:
    assert check_names(["mel", "pesq", "mel"]) == ["pesq", "mel"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("peqs", "did you mean pesq"),
        ("STOI", "did you mean stoi"),
        ("si_sdr", "did you mean si-sdr"),
        ("zzz", "known metrics are utmos, pesq, pesq-nb, stoi, estoi, f1, mel"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(CodecError, match=hint):
        check_names(["mel", name])


def test_no_name_is_refused() -> None:
    with pytest.raises(CodecError, match="no metrics chosen"):
        check_names([])


def test_every_metric_declares_itself() -> None:
    metrics: list[Metric] = build_metrics(list(METRICS), MetricOptions(24_000))
    assert [metric.name for metric in metrics] == list(METRICS)
    values = [value for metric in metrics for value in metric.values]
    assert len(values) == len(set(values))
    for metric in metrics:
        learned = metric.name == "utmos"
        assert (metric.unavailable() is None) != learned  # no weights are given
        assert metric.trim == "reference" and metric.needs_reference != learned
        assert metric.sample_rate in (None, 8_000, 16_000, 24_000)
