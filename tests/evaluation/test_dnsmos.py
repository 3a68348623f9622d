"""DNSMOS by its package, with the weights that the package carries."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from doubles import RATE, NoisySystem, noisy
from speechmos import dnsmos as package
from torch import Tensor

import codec.evaluation.dnsmos as room
from codec import audio
from codec.evaluation import MetricError, MetricOptions, build_metrics, evaluate, summarize
from codec.evaluation.dnsmos import DNSMOS
from codec.manifest import Utterance

KEYS = ("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808")


@pytest.fixture(scope="module")
def metric() -> DNSMOS:
    metric = DNSMOS()
    assert metric.unavailable() is None
    return metric


@pytest.fixture(scope="module")
def speech(clips: list[Tensor]) -> list[Tensor]:
    """At 16 kHz: one second, and 11.5 s, of which the package takes two windows."""
    narrow = [audio.resample(clip, RATE, 16_000).clamp(-1, 1) for clip in clips]
    return [narrow[0], torch.cat(narrow * 3)[: 23 * 8_000]]


def test_scores_are_the_packages_own(metric: DNSMOS, speech: list[Tensor]) -> None:
    for clip in speech:
        scores = metric.score(torch.zeros(1), clip)
        expected = package.run(clip.numpy(), 16_000)
        assert tuple(scores) == KEYS
        for key in KEYS:
            assert scores[key] == pytest.approx(expected[f"{key.removeprefix('dnsmos_')}_mos"], abs=1e-4)


def test_a_second_way_gives_the_same_p835(metric: DNSMOS, speech: list[Tensor]) -> None:
    """The published script from its description: two windows of 9.01 s, a second apart, then the fitted polynomials."""
    network = onnxruntime.InferenceSession(str(room._files()[0]), providers=["CPUExecutionProvider"])
    windows = np.stack([speech[1].numpy()[start : start + 144_160] for start in (0, 16_000)])
    raw = np.stack([network.run(None, {"input_1": window[None]})[0][0] for window in windows])  # (2, SIG BAK OVRL)
    fitted = {
        "dnsmos_sig": -0.08397278 * raw[:, 0] ** 2 + 1.22083953 * raw[:, 0] + 0.0052439,
        "dnsmos_bak": -0.13166888 * raw[:, 1] ** 2 + 1.60915514 * raw[:, 1] - 0.39604546,
        "dnsmos_ovrl": -0.06766283 * raw[:, 2] ** 2 + 1.11546468 * raw[:, 2] + 0.04602535,
    }
    scores = metric.score(torch.zeros(1), speech[1])
    for key, value in fitted.items():
        assert scores[key] == pytest.approx(float(value.mean()), abs=1e-4)


def test_noise_is_heard(metric: DNSMOS, speech: list[Tensor]) -> None:
    clean, hissing = (metric.score(torch.zeros(1), clip) for clip in (speech[1], noisy(speech[1], 0.05)))
    for key in KEYS:
        assert hissing[key] < clean[key] - 0.1


def test_what_overshoots_full_scale_is_clipped(metric: DNSMOS, speech: list[Tensor]) -> None:
    loud = speech[0] / speech[0].abs().max() * 1.1
    assert metric.score(loud, loud) == metric.score(loud, loud.clamp(-1, 1))


@pytest.mark.parametrize(
    ("degraded", "reason"),
    [(torch.ones(3_999), "shorter than 0.25 s"), (torch.zeros(16_000), "the reconstruction is silent")],
)
def test_what_has_no_score(metric: DNSMOS, degraded: Tensor, reason: str) -> None:
    with pytest.raises(MetricError, match=reason):
        metric.score(degraded, degraded)


def test_other_processes_give_the_same_scores(utterances: list[Utterance], tmp_path: Path) -> None:
    outcomes = []
    for workers in (0, 2):
        metrics = build_metrics(["dnsmos"], MetricOptions(RATE))
        outcome = evaluate(NoisySystem(), utterances[:3], metrics, tmp_path / str(workers), workers=workers)
        outcomes.append(summarize(NoisySystem(), outcome, "three"))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["metrics"]["dnsmos_ovrl"]["n_ok"] == 3
    assert len(outcomes[0]["definitions"]["dnsmos_ovrl"]["weights_sha256"]) == 64


def test_without_the_package_the_rest_is_scored(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str, *rest: str) -> ModuleSpec | None:
        return None if name == "speechmos" else importlib.util.find_spec(name, *rest)

    monkeypatch.setattr(room, "find_spec", find)
    metrics = build_metrics(["dnsmos", "mel"], MetricOptions(RATE))
    summary = summarize(NoisySystem(), evaluate(NoisySystem(), utterances[:2], metrics, tmp_path), "two")
    assert summary["not_available"] == {"dnsmos": "needs speechmos; pip install speechmos"}
    assert summary["metrics"]["mel_distance"]["n_ok"] == 2
