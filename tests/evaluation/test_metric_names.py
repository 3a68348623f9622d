from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from codec import CodecError
from codec.evaluation import METRICS, Metric, MetricOptions, build_metrics
from codec.evaluation.registry import DEFAULT, EXTRAS, check_names


def test_names_come_once_in_the_order_of_the_report() -> None:
    assert check_names(["mel", "pesq", "mel"]) == ["pesq", "mel"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("peqs", "did you mean pesq"),
        ("STOI", "did you mean stoi"),
        ("si_sdr", "did you mean si-sdr"),
        ("zzz", "known metrics are utmos, dnsmos, pesq, pesq-nb, stoi, estoi, f1, mel"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(CodecError, match=hint):
        check_names(["mel", name])


def test_no_name_is_refused() -> None:
    with pytest.raises(CodecError, match="no metrics chosen"):
        check_names([])


def test_all_is_every_one() -> None:
    assert check_names(["all"]) == list(METRICS)
    assert set(METRICS) - set(DEFAULT) == set(EXTRAS) == {"wer", "sim"}


def test_every_metric_declares_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", tmp_path)
    metrics: list[Metric] = build_metrics(list(METRICS), MetricOptions(24_000))
    assert [metric.name for metric in metrics] == list(METRICS)
    values = [value for metric in metrics for value in metric.values]
    assert len(values) == len(set(values))
    for metric in metrics:
        reason = metric.unavailable()  # no weights are given
        assert (reason is not None) == (metric.name in ("utmos", "wer", "sim"))
        if reason is not None:
            assert f"run codec fetch {metric.name}" in reason
        assert metric.trim == "reference" and metric.needs_reference != (metric.name in ("utmos", "dnsmos"))
        assert metric.sample_rate in (None, 8_000, 16_000, 24_000)
