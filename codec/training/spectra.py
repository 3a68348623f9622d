"""Spectrograms that are followed back through: in training their gradient costs more than they do."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.audio.mel import mel_bands
from codec.modules.istft import real_signal


class _RealTransform(torch.autograd.Function):
    """``torch.fft.rfft``, whose own gradient is a complex transform of twice the length, half of it zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.length = x.shape[-1]
        return torch.fft.rfft(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # dx[n] = Re sum_k g[k] exp(2 pi i k n / N) over the half that rfft gives; irfft counts all but its ends twice.
        bins = torch.arange(ctx.length // 2 + 1, device=gradients[0].device)
        shares = torch.where((bins == 0) | (2 * bins == ctx.length), 1.0, 0.5)
        return real_signal(gradients[0] * shares, ctx.length, norm="forward")


def stft(audio: Tensor, n_fft: int, hop_length: int, window: Tensor | None = None) -> Tensor:
    """Complex spectrogram (B, T) float32 -> (B, frames, bins), frame t centred on sample t * hop, ends reflected.

    Args:
        audio: at least n_fft // 2 + 1 samples.
        n_fft: samples a frame.
        hop_length: samples between frames.
        window: (n_fft,); none: rectangular.
    """
    edge = n_fft // 2
    frames = F.pad(audio.unsqueeze(1), (edge, edge), mode="reflect").squeeze(1).unfold(-1, n_fft, hop_length)
    if window is not None:
        frames = frames * window
    return cast(Tensor, _RealTransform.apply(frames))


class MelSpectrogram(nn.Module):
    """Magnitudes in mel bands (HTK), as :func:`codec.audio.mel.mel_spectrogram` has them, frames first."""

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("bands", mel_bands(sample_rate, n_fft, n_mels), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """(..., T) float32 -> (..., frames, mels)."""
        spectrum = stft(audio.flatten(0, -2), self.n_fft, self.hop_length, cast(Tensor, self.window))
        return (spectrum.abs() @ cast(Tensor, self.bands)).unflatten(0, audio.shape[:-1])
