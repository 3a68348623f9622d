"""Mel bands and spectrograms, HTK's scale, triangles of height one: those of the published training loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def hertz_to_mel(hertz: float) -> float:
    """HTK's scale."""
    return 2595 * math.log10(1 + hertz / 700)


def mel_bands(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """(n_fft // 2 + 1, n_mels): what every frequency of a spectrum weighs in every band, from 0 Hz to half the rate.

    In torch's default type, as the weights of a module are.
    """
    highest = hertz_to_mel(sample_rate / 2)
    edges = 700 * (10 ** (torch.linspace(0, highest, n_mels + 2, dtype=torch.float64) / 2595) - 1)  # Hz
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64).unsqueeze(1)
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).to(torch.get_default_dtype())


def mel_spectrogram(
    audio: Tensor, bands: Tensor, hop_length: int, *, power: float = 1.0, pad_mode: str = "reflect"
) -> Tensor:
    """Mel spectrogram under a Hann window as long as a frame, frame t centred on sample t * hop.

    Args:
        audio: (..., T) float; T > n_fft // 2 where the ends are reflected.
        bands: (n_fft // 2 + 1, n_mels), of :func:`mel_bands`.
        hop_length: samples between frames.
        power: 1 for magnitudes, 2 for power.
        pad_mode: what lies beyond the ends, as ``torch.nn.functional.pad`` names it.

    Returns:
        (..., n_mels, 1 + T // hop).
    """
    n_fft = 2 * (len(bands) - 1)
    window = torch.hann_window(n_fft, dtype=audio.dtype, device=audio.device)
    rows = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(rows, n_fft, hop_length, window=window, pad_mode=pad_mode, return_complex=True)
    magnitudes = spectrum.abs() if power == 1.0 else spectrum.abs() ** power  # (N, bins, frames)
    mel = magnitudes.transpose(1, 2) @ bands.to(magnitudes)
    return mel.transpose(1, 2).unflatten(0, audio.shape[:-1]) if audio.ndim > 1 else mel[0].T
