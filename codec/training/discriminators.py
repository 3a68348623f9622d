"""The three discriminator families of the published objective.

- ``period``: HiFi-GAN's multi-period discriminator (arXiv 2010.05646).
- ``resolution``: Vocos' multi-resolution discriminator on magnitude spectra (arXiv 2306.00814).
- ``dac``: DAC's periods and band-split complex spectra (arXiv 2306.06546).

A member maps audio (B, T) to its feature maps, the last one being its judgement (logits).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from codec.config import DiscriminatorConfig
from codec.training.spectra import stft

SLOPE = 0.1  # of every leaky ReLU
BAND_EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # shares of the bins, DAC

Features = list[Tensor]


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    kind: type[nn.Conv2d] = nn.Conv2d,
) -> nn.Module:
    """Weight-normalised convolution, zero-padded to keep the size where the stride is 1."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    return parametrizations.weight_norm(kind(in_channels, out_channels, kernel, stride, padding))


class _TimeConv(nn.Conv2d):
    """A published kernel of (k, 1) over (T, period), for signals kept as (period, T): the vectorised loops of CPUs
    run over the last dimension, and with the period there they have 2 to 11 elements."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, period, T) -> (B, C', period, T')."""
        return F.conv2d(x, self.weight.transpose(2, 3), self.bias, self.stride[::-1], self.padding[::-1])


class PeriodMember(nn.Module):
    """Folds the waveform into rows of ``period`` samples and convolves along time only.

    ``whole_extra_period``: DAC's variant pads a full period where the length fits already, and counts the first
    feature map, which HiFi-GAN's leaves out.
    """

    def __init__(self, period: int, channels: Sequence[int], *, dac: bool = False, channels_last: bool = False) -> None:
        super().__init__()
        self.period, self.dac = period, dac
        self.channels_last = channels_last
        widths = [1, *channels]
        last = len(channels) - 1
        self.convs = nn.ModuleList(
            _conv(widths[i], widths[i + 1], (5, 1), (1 if i == last else 3, 1), _TimeConv) for i in range(len(channels))
        )
        self.out = _conv(widths[-1], 1, (3, 1), kind=_TimeConv)

    def forward(self, audio: Tensor) -> Features:
        """(B, T) -> feature maps (B, C, period, T')."""
        missing = -audio.shape[-1] % self.period
        if self.dac and missing == 0:
            missing = self.period
        if missing:
            audio = F.pad(audio.unsqueeze(1), (0, missing), mode="reflect").squeeze(1)
        x = (
            audio.unflatten(-1, (-1, self.period)).transpose(1, 2).unsqueeze(1).contiguous()
        )  # (B, 1, period, T / period)
        features = []
        for conv in self.convs:
            x = conv(x)
            if self.channels_last:  # copies behind the first only: one channel has no layout, and others keep theirs
                x = x.contiguous(memory_format=torch.channels_last)
            x = F.leaky_relu(x, SLOPE, inplace=True)
            features.append(x)
        features.append(self.out(x))
        return features if self.dac else features[1:]


class ResolutionMember(nn.Module):
    """Convolves a magnitude spectrogram (rectangular window)."""

    LAYERS = (((7, 5), (2, 2)), ((5, 3), (2, 1)), ((5, 3), (2, 2)), ((3, 3), (2, 1)), ((3, 3), (2, 2)))

    def __init__(self, resolution: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.win_length = resolution
        self.convs = nn.ModuleList(
            _conv(1 if i == 0 else channels, channels, kernel, stride) for i, (kernel, stride) in enumerate(self.LAYERS)
        )
        self.out = _conv(channels, 1, (3, 3))

    def forward(self, audio: Tensor) -> Features:
        """(B, T) -> feature maps (B, C, bins', frames')."""
        x = _spectrum(audio, self.n_fft, self.hop_length, self.win_length).abs().transpose(1, 2).unsqueeze(1)
        x = x.contiguous(memory_format=torch.channels_last)
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE, inplace=True)
            features.append(x)
        features.append(self.out(x))
        return features


class BandMember(nn.Module):
    """Convolves a complex spectrogram in five frequency bands, joined for the judgement (DAC)."""

    LAYERS = (((3, 9), (1, 1)), ((3, 9), (1, 2)), ((3, 9), (1, 2)), ((3, 9), (1, 2)), ((3, 3), (1, 1)))

    def __init__(self, n_fft: int, channels: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        bins = n_fft // 2 + 1
        self.edges = [int(edge * bins) for edge in BAND_EDGES]
        self.bands = nn.ModuleList(
            nn.ModuleList(
                _conv(2 if i == 0 else channels, channels, kernel, stride)
                for i, (kernel, stride) in enumerate(self.LAYERS)
            )
            for _ in self.edges[1:]
        )
        self.out = _conv(channels, 1, (3, 3))

    def forward(self, audio: Tensor) -> Features:
        """(B, T) -> feature maps (B, C, frames, bins')."""
        spectrum = _spectrum(audio, self.n_fft, self.n_fft // 4, self.n_fft)
        x = torch.view_as_real(spectrum).permute(0, 3, 1, 2)  # (B, 2, frames, bins), channels last in memory
        features, joined = [], []
        # Split at once: the gradients of slices would be laid into zeros, each of the whole size.
        bands = x.split([high - low for low, high in pairwise(self.edges)], dim=-1)
        for convs, band in zip(self.bands, bands, strict=True):
            for conv in cast(nn.ModuleList, convs):
                band = F.leaky_relu(conv(band), SLOPE, inplace=True)
                features.append(band)
            joined.append(band)
        features.append(self.out(torch.cat(joined, dim=-1)))
        return features


class Family(nn.Module):
    """Members of one kind, asked together."""

    def __init__(self, members: Sequence[nn.Module], *, level: bool = False) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.level = level

    def forward(self, audio: Tensor) -> list[Features]:
        """(B, 1, T) -> the feature maps of each member."""
        audio = audio.squeeze(1)
        if self.level:  # DAC: without offset, peak at 0.8
            audio = audio - audio.mean(dim=-1, keepdim=True)
            audio = 0.8 * audio / (audio.abs().amax(dim=-1, keepdim=True) + 1e-9)
        return [member(audio) for member in self.members]


class Discriminators(nn.ModuleDict):
    """The families that the settings ask for: any of ``period``, ``resolution``, ``dac``.

    Args:
        config: members and their widths.
        channels_last: the layout of what the period members compute; that of the others is always so.
    """

    def __init__(self, config: DiscriminatorConfig, *, channels_last: bool = False) -> None:
        period = partial(PeriodMember, channels_last=channels_last)
        families = {
            "period": Family([period(p, config.period_channels) for p in config.periods]),
            "resolution": Family([ResolutionMember(r, config.resolution_channels) for r in config.resolutions]),
            "dac": Family(
                [
                    *(period(p, config.dac_period_channels, dac=True) for p in config.dac_periods),
                    *(BandMember(n_fft, config.dac_channels) for n_fft in config.dac_fft_sizes),
                ],
                level=True,
            ),
        }
        super().__init__({name: family for name, family in families.items() if len(family.members)})

    def forward(self, audio: Tensor, other: Tensor | None = None) -> Any:
        """(B, 1, T) -> feature maps of every member of every family; with ``other``, a pair of them.

        Two signals in one call, because data-parallel training wants one forward pass for each backward pass, and not
        in one batch, because a loss on one of them alone would then compute gradients of zero for the other.
        """
        if other is None:
            return self._judge(audio)
        # Weights are normalised once for both, forward and backward. What is compiled keeps no weights between calls.
        compiled = any(family._compiled_call_impl is not None for family in self.values())
        with nullcontext() if compiled else parametrize.cached():
            return self._judge(audio), self._judge(other)

    def _judge(self, audio: Tensor) -> dict[str, list[Features]]:
        # Not through forward: Accelerate wraps that in an autocast, which does not end when it is entered twice.
        return {name: family(audio) for name, family in self.items()}


def _spectrum(audio: Tensor, n_fft: int, hop_length: int, win_length: int) -> Tensor:
    """Complex spectrogram (B, frames, bins), float32; the published discriminators use no window function."""
    with torch.autocast(audio.device.type, enabled=False):
        if win_length == n_fft:
            return stft(audio.float(), n_fft, hop_length)
        before = (n_fft - win_length) // 2
        window = F.pad(torch.ones(win_length, device=audio.device), (before, n_fft - win_length - before))
        return stft(audio.float(), n_fft, hop_length, window)
