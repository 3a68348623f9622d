"""SI-SDR and multi-resolution STFT distance against their definitions, and the speed of a system."""

from __future__ import annotations

import json
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from doubles import RATE, noisy
from torch import Tensor

from codec.audio.resampling import resample
from codec.evaluation import MetricError
from codec.evaluation.level import LevelDifference
from codec.evaluation.si_sdr import SISDR
from codec.evaluation.speed import Speed, write_speed
from codec.evaluation.stft import MultiResolutionSTFT


@pytest.mark.parametrize("expected", [-7.0, 0.0, 13.0])
def test_si_sdr_of_a_known_mixture(expected: float, clips: list[Tensor]) -> None:
    reference = clips[0] - clips[0].mean()
    other = torch.randn(len(reference), generator=torch.Generator().manual_seed(1))
    other -= other.mean()
    other -= torch.dot(other, reference) / torch.dot(reference, reference) * reference  # orthogonal
    other *= reference.norm() / other.norm() * 10 ** (-expected / 20)
    for scale in (1.0, 0.3, -2.0):  # neither level nor sign, nor an offset, changes it
        score = SISDR(RATE).score(reference + 0.1, scale * (reference + other) + 0.02)["si_sdr_db"]
        assert score == pytest.approx(expected, abs=1e-4)


def test_si_sdr_is_no_number_for_a_perfect_or_a_silent_copy(clips: list[Tensor]) -> None:
    with pytest.raises(MetricError, match="is the reference"):
        SISDR(RATE).score(clips[0], clips[0])
    with pytest.raises(MetricError, match="the reconstruction is silent"):
        SISDR(RATE).score(clips[0], torch.zeros_like(clips[0]))
    with pytest.raises(MetricError, match="the reference is silent"):
        SISDR(RATE).score(torch.zeros_like(clips[0]), clips[0])
    with pytest.raises(MetricError, match="the reference is constant"):
        SISDR(RATE).score(torch.full_like(clips[0], 0.5), clips[0])


def test_level_is_that_of_the_root_mean_squares(clips: list[Tensor]) -> None:
    metric = LevelDifference(RATE)
    for gain_db in (-6.0, -0.5, 0.0, 3.0):
        score = metric.score(clips[0], 10 ** (gain_db / 20) * clips[0])["level_db"]
        assert score == pytest.approx(abs(gain_db), abs=1e-5)
    assert metric.score(clips[0], clips[0].roll(7))["level_db"] == pytest.approx(0, abs=1e-6)  # not of samples
    with pytest.raises(MetricError, match="the reconstruction is silent"):
        metric.score(clips[0], torch.zeros_like(clips[0]))


def floored(spectrum: np.ndarray) -> np.ndarray:
    """Magnitudes of Parallel WaveGAN: the root of a power of at least 1e-7."""
    return np.sqrt(np.maximum(spectrum.real**2 + spectrum.imag**2, 1e-7))


def test_stft_distance_is_the_mean_of_three_resolutions(clips: list[Tensor]) -> None:
    reference = clips[1]
    # Through 8 kHz and back: above 4 kHz the floor is all there is.
    for degraded in (noisy(reference), resample(resample(reference, RATE, 8000), 8000, RATE)[: len(reference)]):
        check_stft_distance(reference, degraded)
    assert MultiResolutionSTFT().score(reference, reference) == {"stft_distance": 0}


def check_stft_distance(reference: Tensor, degraded: Tensor) -> None:
    terms = []
    for n_fft, hop, length in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        true, found = (
            floored(librosa.stft(audio.numpy(), n_fft=n_fft, hop_length=hop, win_length=length, pad_mode="reflect"))
            for audio in (reference, degraded)
        )
        logs = np.abs(np.log(true) - np.log(found)).mean()
        terms.append(np.sqrt(((true - found) ** 2).sum() / (true**2).sum()) + logs)
    score = MultiResolutionSTFT().score(reference, degraded)["stft_distance"]
    assert score == pytest.approx(np.mean(terms), rel=1e-4)


def test_stft_distance_fails_by_name(clips: list[Tensor]) -> None:
    with pytest.raises(MetricError, match="shorter than half a window"):
        MultiResolutionSTFT().score(clips[0][:1024], clips[0][:1024])
    with pytest.raises(MetricError, match="the reference is silent"):
        MultiResolutionSTFT().score(torch.zeros(4000), clips[0][:4000])


def test_speed_adds_up_over_processes_and_leaves_out_what_was_not_coded(tmp_path: Path) -> None:
    one, two = Speed(), Speed()
    one.add(10.0, 0.5, 1.0)
    one.add(99.0, None, None)
    two.add(30.0, 1.5, 1.0)
    both = sum([one, two], Speed())
    assert (both.utterances, both.encode_rtf, both.decode_rtf) == (2, 0.05, 0.05)
    assert "0.0500 encoding, 0.0500 decoding (10.0 times faster than the speech together; cpu)" in both.line("cpu")
    write_speed(tmp_path, both, "cpu")
    assert json.loads((tmp_path / "speed.json").read_text())["encode_rtf"] == 0.05
    write_speed(tmp_path / "none", Speed(), "cpu")
    assert not (tmp_path / "none").exists()
