from __future__ import annotations

import librosa
import pytest
import torch
from torch import Tensor

from codec.audio.mel import mel_bands, mel_spectrogram


@pytest.mark.parametrize(("n_fft", "hop", "n_mels", "power"), [(1024, 256, 100, 1.0), (512, 160, 40, 2.0)])
def test_it_is_torchaudios(speech: Tensor, n_fft: int, hop: int, n_mels: int, power: float) -> None:
    """Of the published loss, which is computed so; where that library is installed."""
    transforms = pytest.importorskip("torchaudio.transforms", exc_type=(ImportError, OSError))
    audio = speech[:4800].view(2, 1, 2400)
    theirs = transforms.MelSpectrogram(24_000, n_fft=n_fft, hop_length=hop, n_mels=n_mels, power=power)(audio)
    ours = mel_spectrogram(audio, mel_bands(24_000, n_fft, n_mels), hop, power=power)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bands_are_librosas() -> None:
    theirs = librosa.filters.mel(sr=24_000, n_fft=2048, n_mels=160, htk=True, norm=None)
    torch.testing.assert_close(mel_bands(24_000, 2048, 160), torch.from_numpy(theirs.T), rtol=0, atol=1e-6)


def test_one_signal_is_one_of_a_batch(speech: Tensor) -> None:
    bands = mel_bands(24_000, 1024, 80)
    one = mel_spectrogram(speech[:4801], bands, 240, pad_mode="constant")
    assert one.shape == (80, 21)
    torch.testing.assert_close(
        one, mel_spectrogram(speech[:4801].view(1, 1, -1), bands, 240, pad_mode="constant")[0, 0]
    )


def test_bands_are_triangles_that_add_up_to_one_between_the_first_and_the_last_peak() -> None:
    bands = mel_bands(24_000, 2048, 60)
    assert bands.shape == (1025, 60) and bool((bands >= 0).all())
    peaks = bands.argmax(dim=0)
    inner = bands[peaks[0] + 1 : peaks[-1]].sum(dim=1)
    torch.testing.assert_close(inner, torch.ones_like(inner), rtol=0, atol=1e-6)
    assert bool((peaks.diff() >= 0).all())


def test_bands_follow_the_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert mel_bands(24_000, 512, 40).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
