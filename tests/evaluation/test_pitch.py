"""Voicing and pitch against a second computation, written from the protocol with torchcrepe's own functions."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from doubles import RATE, noisy
from torch import Tensor

from codec.audio import resample
from codec.evaluation import MetricError
from codec.evaluation.crepe import Crepe
from codec.evaluation.pitch import VoicingAndPitch, _load
from codec.evaluation.torchcrepe_alone import torchcrepe as load_torchcrepe

torchcrepe = load_torchcrepe()


@pytest.fixture(scope="module")
def pair(clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Speech with a silent pause in it, and a noisy copy, 0.8 s at 16 kHz."""
    clip, degraded = clips[2][:19_200].clone(), noisy(clips[2][:19_200], 0.05)
    clip[10_000:14_000] = degraded[10_000:14_000] = 0
    return resample(clip, RATE, 16_000), resample(degraded, RATE, 16_000)


def published_track(audio: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Pitch (Hz, NaN where unvoiced) and periodicity as the protocol says."""
    pitch, periodicity = torchcrepe.predict(
        audio[None], 16_000, 160, 50.0, 550.0, "full", return_periodicity=True, batch_size=None, pad=False
    )
    pitch, periodicity = pitch[0].numpy(), periodicity[0].numpy()
    stft = librosa.stft(audio.numpy(), n_fft=1024, hop_length=160, window="hann", center=False)
    with np.errstate(divide="ignore"):
        level = librosa.perceptual_weighting(np.abs(stft) ** 2, librosa.fft_frequencies(sr=16_000, n_fft=1024)) - 20
    silent = level.mean(axis=0) < -60
    assert silent.any() and not silent.all()
    periodicity[silent] = 0
    pitch[periodicity < 0.21] = np.nan
    return pitch, periodicity


def test_agrees_with_the_published_protocol(pair: tuple[Tensor, Tensor]) -> None:
    (true_pitch, true_periodicity), (pitch, periodicity) = (published_track(audio) for audio in pair)
    voiced, true_voiced = ~np.isnan(pitch), ~np.isnan(true_pitch)
    hits = (voiced & true_voiced).sum()
    precision, recall = hits / voiced.sum(), hits / true_voiced.sum()
    cents = 1200 * np.log2(pitch / true_pitch)[voiced & true_voiced]

    scores = VoicingAndPitch().score(*pair)
    assert scores["vuv_f1"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)
    assert 0.3 < scores["vuv_f1"] < 1
    assert scores["periodicity_rmse"] == pytest.approx(
        np.sqrt(((periodicity - true_periodicity) ** 2).mean()), abs=1e-5
    )
    # torchcrepe dithers both pitches by up to 20 cents (triangular, standard deviation 8.2); ours are not dithered.
    assert scores["pitch_rmse_cents"] == pytest.approx(np.sqrt((cents**2).mean()), abs=2 * 8.2)


def test_crepe_is_torchcrepe(pair: tuple[Tensor, Tensor]) -> None:
    audio = pair[0][: 1024 + 160 * 40]  # more than one block of frames
    ours = Crepe(torch.device("cpu")).posteriors(audio)
    frames = next(torchcrepe.preprocess(audio[None], 16_000, 160, None, "cpu", pad=False))
    with torch.no_grad():
        theirs = torchcrepe.infer(frames, "full", "cpu")
    assert ours.shape == theirs.shape == (41, 360)
    assert theirs.max() > 0.3
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


def test_equal_signals_score_perfectly_and_repeat(pair: tuple[Tensor, Tensor]) -> None:
    metric = VoicingAndPitch()
    assert metric.score(pair[0], pair[0]) == {"vuv_f1": 1, "periodicity_rmse": 0, "pitch_rmse_cents": 0}
    assert metric.score(*pair) == metric.score(*pair)


def test_no_voiced_frames_is_a_failure_but_missing_voicing_is_zero(pair: tuple[Tensor, Tensor]) -> None:
    metric, silence = VoicingAndPitch(), torch.zeros_like(pair[0])
    with pytest.raises(MetricError, match="no voiced frames") as failure:
        metric.score(silence, silence)
    assert failure.value.scores == {"periodicity_rmse": 0}
    with pytest.raises(MetricError, match="no frame is voiced in both") as failure:
        metric.score(pair[0], silence)
    assert failure.value.scores.keys() == {"periodicity_rmse", "vuv_f1"}
    assert failure.value.scores["vuv_f1"] == 0
    with pytest.raises(MetricError, match="shorter than one pitch frame"):
        metric.score(pair[0][:1023], pair[0][:1023])


def test_reference_is_analysed_once(
    pair: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed: list[float] = []
    track = VoicingAndPitch.track

    def counting(self: VoicingAndPitch, audio: Tensor) -> object:
        analysed.append(float(audio.square().sum()))
        return track(self, audio)

    monkeypatch.setattr(VoicingAndPitch, "track", counting)
    first = VoicingAndPitch(cache=tmp_path).score(*pair)
    again = VoicingAndPitch(cache=tmp_path).score(*pair)
    assert first == again
    reference, degraded = (float(audio.square().sum()) for audio in pair)
    assert analysed == [reference, degraded, degraded]

    # A damaged file is made again; another reference has another name.
    (stored,) = tmp_path.rglob("*.npz")
    stored.write_bytes(b"torn")
    assert VoicingAndPitch(cache=tmp_path).score(*pair) == first
    assert analysed[3:] == [reference, degraded]
    VoicingAndPitch(cache=tmp_path).score(pair[1], pair[0])
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_no_damage_of_a_cached_track_ends_a_run(tmp_path: Path) -> None:
    path = tmp_path / "track.npz"
    np.savez(path, bins=np.arange(9), periodicity=np.ones(9))
    whole = path.read_bytes()
    assert _load(path) is not None
    path.write_bytes(b"")
    assert _load(path) is None
    unread = 0
    for place in range(len(whole)):
        for bits in (1, 8, 64):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
            unread += _load(path) is None
    assert unread > len(whole)  # the others are in bytes that nobody reads
