"""The published discriminators, as they are written: every call normalises the weights, period last, bins first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.training.discriminators import (
    SLOPE,
    BandMember,
    Discriminators,
    Family,
    Features,
    PeriodMember,
    ResolutionMember,
)


def judge(discriminators: Discriminators, audio: Tensor) -> dict[str, list[Features]]:
    """(B, 1, T) -> feature maps of every member of every family, with the weights of ``discriminators``."""
    found = {}
    for name, family in discriminators.items():
        assert isinstance(family, Family)
        signal = audio.squeeze(1)
        if family.level:
            signal = signal - signal.mean(dim=-1, keepdim=True)
            signal = 0.8 * signal / (signal.abs().max(dim=-1, keepdim=True)[0] + 1e-9)
        found[name] = [_member(member, signal) for member in family.members]
    return found


def _member(member: nn.Module, audio: Tensor) -> Features:
    if isinstance(member, PeriodMember):
        missing = -audio.shape[-1] % member.period
        if member.dac and missing == 0:
            missing = member.period
        audio = audio.unsqueeze(1)
        if missing:
            audio = F.pad(audio, (0, missing), mode="reflect")
        features = _layers(member.convs, audio.unflatten(-1, (-1, member.period)))  # (B, 1, T / period, period)
        features.append(_conv(member.out, features[-1]))
        return features if member.dac else features[1:]
    if isinstance(member, ResolutionMember):
        spectrum = _stft(audio, member.n_fft, member.hop_length, member.win_length)
        features = _layers(member.convs, spectrum.abs().unsqueeze(1))
        return [*features, _conv(member.out, features[-1])]
    assert isinstance(member, BandMember)
    spectrum = _stft(audio, member.n_fft, member.n_fft // 4, member.n_fft)
    image = torch.view_as_real(spectrum).permute(0, 3, 2, 1)
    features, joined = [], []
    for convs, low, high in zip(member.bands, member.edges, member.edges[1:], strict=False):
        assert isinstance(convs, nn.ModuleList)
        features += _layers(convs, image[..., low:high])
        joined.append(features[-1])
    return [*features, _conv(member.out, torch.cat(joined, dim=-1))]


def _layers(convs: nn.ModuleList, x: Tensor) -> Features:
    features = []
    for conv in convs:
        x = F.leaky_relu(_conv(conv, x), SLOPE)
        features.append(x)
    return features


def _conv(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


def _stft(audio: Tensor, n_fft: int, hop_length: int, win_length: int) -> Tensor:
    with torch.autocast(audio.device.type, enabled=False):
        window = torch.ones(win_length, device=audio.device)
        return torch.stft(audio.float(), n_fft, hop_length, win_length, window, return_complex=True)
