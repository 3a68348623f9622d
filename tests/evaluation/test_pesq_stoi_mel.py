"""PESQ, STOI and log-mel distance against the libraries called directly, and their declared failures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from doubles import RATE, noisy
from pesq import PesqError, pesq
from pystoi import stoi
from torch import Tensor

from codec import audio
from codec.config import LossConfig
from codec.evaluation import Metric, MetricError
from codec.evaluation.mel import LogMelDistance
from codec.evaluation.pesq import NarrowBandPESQ, WideBandPESQ, _stretches
from codec.evaluation.stoi import ESTOI, STOI
from codec.training.losses import MelLoss

CORPUS = Path(__file__).parents[2] / "egs" / "mini" / "corpus"


def pairs(clips: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(clip, noisy(clip, level)) for clip in clips[:3] for level in (0.003, 0.03)]


def cypesq_code(audio: Tensor) -> float:
    return pesq(16_000, audio.numpy(), audio.numpy(), "wb", on_error=PesqError.RETURN_VALUES)


@pytest.mark.parametrize(("metric", "mode"), [(WideBandPESQ(), "wb"), (NarrowBandPESQ(), "nb")])
def test_pesq_agrees_with_the_library(metric: Metric, mode: str, clips: list[Tensor]) -> None:
    scores = []
    for reference, degraded in pairs(clips):
        score = metric.score(reference, degraded)[f"pesq_{mode}"]
        assert score == pesq(metric.sample_rate, reference.numpy(), degraded.numpy(), mode)
        scores.append(score)
    assert min(scores) < 2 < max(scores)


def test_stoi_agrees_with_the_library(clips: list[Tensor]) -> None:
    for reference, degraded in pairs(clips):
        for metric, extended in ((STOI(RATE), False), (ESTOI(RATE), True)):
            score = metric.score(reference, degraded)[metric.name]
            expected = stoi(reference.numpy(), degraded.numpy(), RATE, extended=extended)
            assert score == pytest.approx(expected, abs=1e-12)  # the extended one adds noise of 1e-16
            assert score == metric.score(reference, degraded)[metric.name]  # the same noise every time here
            assert 0.2 < score < 1
        assert ESTOI(RATE).score(reference, degraded)["estoi"] < STOI(RATE).score(reference, degraded)["stoi"]


def test_mel_distance_is_the_training_term(clips: list[Tensor]) -> None:
    loss = MelLoss(RATE, LossConfig())
    for reference, degraded in pairs(clips):
        expected = float(loss(degraded[None, None], reference[None, None]))
        assert LogMelDistance().score(reference, degraded)["mel_distance"] == pytest.approx(expected, rel=1e-6)


def test_equal_signals(clips: list[Tensor]) -> None:
    assert STOI(RATE).score(clips[0], clips[0])["stoi"] == pytest.approx(1, abs=1e-12)
    assert LogMelDistance().score(clips[0], clips[0]) == {"mel_distance": 0}
    assert WideBandPESQ().score(clips[0], clips[0])["pesq_wb"] == pytest.approx(4.644, abs=1e-3)


@pytest.mark.parametrize(
    ("metric", "shortest"),
    [(WideBandPESQ(), 4000), (NarrowBandPESQ(), 2000), (STOI(16_000), 6400), (ESTOI(16_000), 6400)],
)
def test_short_and_silent_pairs_fail_by_name(metric: Metric, shortest: int, clips: list[Tensor]) -> None:
    clip = clips[0][:16_000]
    with pytest.raises(MetricError, match="shorter than 0"):
        metric.score(clip[: shortest - 1], clip[: shortest - 1])
    with pytest.raises(MetricError, match="the reference is silent"):
        metric.score(torch.zeros_like(clip), clip)
    with pytest.raises(MetricError, match="the reconstruction is silent"):
        metric.score(clip, torch.zeros_like(clip))


@pytest.mark.parametrize("metric", [WideBandPESQ(), NarrowBandPESQ(), WideBandPESQ(error_codes=True)])
def test_pesq_is_kept_from_what_its_program_crashes_on(metric: Metric) -> None:
    longest = 60 * metric.sample_rate
    noise = 0.1 * torch.randn(longest + 1, generator=torch.Generator().manual_seed(0))
    with pytest.raises(MetricError, match="longer than 60 s"):
        metric.score(noise, noise)


@pytest.mark.parametrize("metric", [WideBandPESQ(), NarrowBandPESQ(), WideBandPESQ(error_codes=True)])
def test_pesq_is_kept_from_more_stretches_than_its_program_holds(metric: Metric) -> None:
    def words(seconds: float, word_s: float, pause_s: float) -> Tensor:
        times = torch.arange(round(seconds * metric.sample_rate)) / metric.sample_rate
        noise = torch.randn(len(times), generator=torch.Generator().manual_seed(0))
        return noise * torch.where(times % (word_s + pause_s) < word_s, 0.1, 1e-4)

    many = words(59, 0.45, 0.35)  # 74: in the program the end of the process, or a score of chance
    with pytest.raises(MetricError, match=r"^more than 50 stretches of speech$"):
        metric.score(many, many)
    few = words(24, 0.45, 0.35)  # 30
    assert metric.score(few, few)[next(iter(metric.values))] > 4


def test_read_speech_has_few_stretches() -> None:
    files = sorted(CORPUS.rglob("*.flac"))
    speech = torch.cat([audio.load(file, 16_000) for file in files])
    assert len(speech) >= 60 * 16_000
    assert 10 < _stretches(speech[: 60 * 16_000], 16_000) < 45


def test_pesq_error_codes_are_failures(clips: list[Tensor]) -> None:
    # 60 ms of speech: the program's voice activity detection finds nothing (its code is -7).
    blip = torch.zeros(16_000)
    blip[:1000] = clips[0][6000:7000]
    assert cypesq_code(blip) == -7
    with pytest.raises(MetricError, match="PESQ finds no utterance"):
        WideBandPESQ().score(blip, blip)


def test_stoi_placeholder_is_a_failure(clips: list[Tensor]) -> None:
    # Long enough, but all except 0.2 s lies 40 dB below the loudest frame.
    mostly_silent = torch.zeros(RATE)
    mostly_silent[:4800] = clips[0][:4800]
    with pytest.raises(MetricError, match="fewer than 30 frames with speech"):
        STOI(RATE).score(mostly_silent, mostly_silent)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_stoi_has_no_placeholder_where_the_library_breaks(rate: int) -> None:
    metric, frame = STOI(rate, placeholders=True), int(0.0256 * rate)
    with pytest.raises(MetricError, match="shorter than one frame"):
        metric.score(torch.ones(frame), torch.ones(frame))
    for length in (frame + 1, frame + 2, 2 * frame):
        assert metric.score(torch.ones(length), torch.ones(length)) == {"stoi": 1e-5}


def test_mel_distance_needs_half_a_window() -> None:
    with pytest.raises(MetricError, match="half a mel window"):
        LogMelDistance().score(torch.ones(512), torch.ones(512))
    assert LogMelDistance().score(torch.ones(513), torch.ones(513)) == {"mel_distance": 0}
