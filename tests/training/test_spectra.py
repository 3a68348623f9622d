"""Spectrograms for training: those of torch, their gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codec.audio.mel import mel_bands, mel_spectrogram
from codec.training.spectra import MelSpectrogram, stft


@pytest.mark.parametrize(("n_fft", "hop_length"), [(512, 128), (256, 100), (101, 25)])
@pytest.mark.parametrize("windowed", [False, True])
def test_spectra_and_gradients_are_those_of_torch(speech: Tensor, n_fft: int, hop_length: int, windowed: bool) -> None:
    audio = speech[:4800].view(2, 2400).requires_grad_()
    window = torch.hann_window(n_fft) if windowed else torch.ones(n_fft)
    ours = stft(audio, n_fft, hop_length, window if windowed else None)
    theirs = torch.stft(audio, n_fft, hop_length, n_fft, window, return_complex=True).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    one, other = (torch.autograd.grad(made, audio, weights)[0] for made in (ours, theirs))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_mel_bands_are_those_of_the_metric(speech: Tensor) -> None:
    audio = speech[:4800].view(2, 1, 2400)
    expected = mel_spectrogram(audio, mel_bands(24_000, 1024, 100), 256)
    torch.testing.assert_close(MelSpectrogram(24_000, 1024, 256, 100)(audio), expected.transpose(-1, -2))
