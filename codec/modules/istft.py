"""Inverse-STFT head: features to waveform (Vocos, arXiv 2306.00814)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MAX_LOG_MAGNITUDE = math.log(1e2)
PIECE_FRAMES = 512  # whose spectra are in memory at a time


def real_signal(spectrum: Tensor, n_fft: int, norm: str | None = None) -> Tensor:
    """``torch.fft.irfft``: (..., n_fft // 2 + 1) complex -> (..., n_fft), on every device the same.

    A real signal has a real mean, and a real Nyquist bin. Where the imaginary part of these is not 0, the libraries of
    processors pass it over; cuFFT reads it for some lengths (https://github.com/pytorch/pytorch/issues/154496).
    """
    if spectrum.device.type != "cpu":
        spectrum = with_real_ends(spectrum, n_fft)
    return torch.fft.irfft(spectrum, n=n_fft, norm=norm)


def with_real_ends(spectrum: Tensor, n_fft: int) -> Tensor:
    """The same without the imaginary parts that belong to no real signal."""
    bins = torch.arange(spectrum.shape[-1], device=spectrum.device)
    inner = (bins > 0) & (2 * bins != n_fft)
    return torch.complex(spectrum.real, spectrum.imag * inner)


class ISTFTHead(nn.Module):
    """One linear layer to log-magnitude and phase, then an inverse STFT with "same" padding.

    (B, F, dim) -> (B, 1, F * hop). ``torch.istft`` cannot be used: its ``center=True`` trims n_fft / 2 on each side and
    with ``center=False`` its window check fails at the borders; "same" padding trims (n_fft - hop) / 2, of an odd hop
    half a sample less in front and more behind.
    """

    window: Tensor

    def __init__(self, dim: int, n_fft: int, hop_length: int) -> None:
        super().__init__()
        assert n_fft % hop_length == 0, "ModelConfig checks this"
        self.n_fft, self.hop_length = n_fft, hop_length
        self.out = nn.Linear(dim, n_fft + 2)
        # Cloned, because hann_window gives a view of a longer tensor, which safetensors refuses.
        self.register_buffer("window", torch.hann_window(n_fft).clone())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, F, dim) -> (B, 1, F * hop), float32 whatever the autocast.

        Args:
            x: features.
            mask: (B, 1, F), True where a frame is its row's own, if the rows' lengths differ; the audio behind a row's
                own frames is then zero.
        """
        F = x.shape[1]
        with torch.autocast(x.device.type, enabled=False):
            if mask is None:
                # On a CPU without gradient piece by piece: spectra and frames are ten times what goes in.
                in_pieces = x.device.type == "cpu" and not torch.is_grad_enabled()
                pieces = x.split(PIECE_FRAMES, dim=1) if in_pieces else (x,)
                added = self._overlap_add((self._frames(piece) for piece in pieces), F)
                squared_window = (self.window**2).expand(1, F, -1)
                return (added / self._overlap_add([squared_window], F)).unsqueeze(1)
            frames = self._frames(x)
            own = mask.transpose(1, 2)  # (B, F, 1)
            # By choice and not by product: what lies behind a row may be infinite, and no window adds up to it there.
            samples = own.repeat_interleave(self.hop_length, dim=1).squeeze(-1)  # (B, F * hop)
            squared_window = (self.window**2).expand(1, F, -1)
            weights = self._overlap_add([squared_window.where(own, 0.0)], F).where(samples, 1.0)
            audio = self._overlap_add([frames.where(own, 0.0)], F).where(samples, 0.0) / weights
        return audio.unsqueeze(1)

    def _frames(self, x: Tensor) -> Tensor:
        """(B, F, dim) -> (B, F, n_fft), windowed. The layer too in float32: in bfloat16 a phase of 20 rad would be off
        by up to 0.06 rad."""
        log_magnitude, phase = self.out(x.float()).chunk(2, dim=-1)  # each (B, F, n_fft/2 + 1)
        # Limited before exp, which can overflow, and whose gradient then is not a number.
        magnitude = log_magnitude.clamp(max=MAX_LOG_MAGNITUDE).exp()
        return real_signal(torch.polar(magnitude, phase), self.n_fft) * self.window

    def _overlap_add(self, pieces: Iterable[Tensor], F: int) -> Tensor:
        """Pieces (B, f, n_fft) of F frames together -> (B, F * hop): sum them at their places and trim both ends."""
        hop, overlap = self.hop_length, self.n_fft // self.hop_length
        out, start = torch.empty(0), 0
        for frames in pieces:
            if start == 0:
                out = frames.new_zeros(frames.shape[0], F + overlap - 1, hop)
            stop = start + frames.shape[1]
            # n_fft is a whole number of hops, so a frame is `overlap` rows of the hop-wide output.
            for part in range(overlap):
                out[:, start + part : stop + part] += frames[..., part * hop : (part + 1) * hop]
            start = stop
        trim = (self.n_fft - hop) // 2
        return out.flatten(1)[:, trim : trim + F * hop]
