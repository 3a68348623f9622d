"""The published forward passes: weight norm computed at every call, whole signals, channels before time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.model import Decoder
from codec.modules.conv import Conv1d
from codec.modules.istft import ISTFTHead
from codec.modules.seanet import ResidualLSTM, SEANetEncoder
from codec.modules.vocos import NORM_EPS, AttentionBlock, ConvNeXtBlock, ResidualBlock, VocosBackbone


def encode_latents(encoder: SEANetEncoder, audio: Tensor) -> Tensor:
    """(B, 1, T) -> (B, D, F)."""
    x = _convolve(encoder.stem, audio)
    for stage in encoder.stages:
        for unit in stage.units:
            hidden = _convolve(unit.block[3], F.elu(_convolve(unit.block[1], F.elu(x))))
            x = _convolve(unit.shortcut, x) + hidden
        x = _convolve(stage.downsample, F.elu(x))
    if isinstance(encoder.lstm, ResidualLSTM):
        frames = x.permute(2, 0, 1)  # time first
        theirs = encoder.lstm.lstm
        out = _time_first(theirs, frames) + frames
        x = out.permute(1, 2, 0)
    latent = _convolve(encoder.out, F.elu(x))
    return F.normalize(latent, dim=1) if encoder.unit_norm else latent


def decode_audio(decoder: Decoder, quantized: Tensor) -> Tensor:
    """(B, D, F) -> (B, 1, F * hop)."""
    return synthesise(decoder.head, features(decoder.backbone, quantized))


def synthesise(head: ISTFTHead, x: Tensor) -> Tensor:
    """(B, F, dim) -> (B, 1, F * hop)."""
    spectrum = head.out(x).transpose(1, 2)  # (B, n_fft + 2, F)
    log_magnitude, phase = spectrum.chunk(2, dim=1)
    magnitude = torch.exp(log_magnitude).clip(max=1e2)
    complex_spectrum = magnitude * (torch.cos(phase) + 1j * torch.sin(phase))
    frames = torch.fft.irfft(complex_spectrum, head.n_fft, dim=1, norm="backward") * head.window[None, :, None]
    count, n_fft, hop = frames.shape[-1], head.n_fft, head.hop_length
    size, trim = (count - 1) * hop + n_fft, (n_fft - hop) // 2
    fold = {"output_size": (1, size), "kernel_size": (1, n_fft), "stride": (1, hop)}
    audio = F.fold(frames, **fold)[:, 0, 0, trim:-trim]
    squares = head.window.square().expand(1, count, -1).transpose(1, 2)
    envelope = F.fold(squares, **fold).squeeze()[trim:-trim]
    assert (envelope > 1e-11).all()  # waits for the device at every call
    return (audio / envelope).unsqueeze(1)


def features(backbone: VocosBackbone, latent: Tensor) -> Tensor:
    """(B, D, F) -> (B, F, dim)."""
    x = backbone.embed(latent)
    for part in backbone.mixer:
        if isinstance(part, ResidualBlock):
            hidden = part.conv1(_swish(_group_norm(part.norm1, x)))
            x = x + part.conv2(part.dropout(_swish(_group_norm(part.norm2, hidden))))
        elif isinstance(part, AttentionBlock):
            x = x + _attend(part, _group_norm(part.norm, x))
        else:
            x = _group_norm(part, x)
    x = backbone.norm(x.transpose(1, 2)).transpose(1, 2)
    for block in backbone.blocks:
        assert isinstance(block, ConvNeXtBlock)
        hidden = block.norm(block.depthwise(x).transpose(1, 2))
        hidden = block.scale * block.contract(F.gelu(block.expand(hidden)))
        x = x + hidden.transpose(1, 2)
    return backbone.final_norm(x.transpose(1, 2))


def _convolve(layer: Conv1d, x: Tensor) -> Tensor:
    parts = layer.conv.parametrizations.weight
    weight = torch._weight_norm(parts.original1, parts.original0, 0)
    right = -x.shape[-1] % layer.stride
    return F.conv1d(F.pad(x, (layer.pad_left, right), mode="reflect"), weight, layer.conv.bias, layer.stride)


def _time_first(lstm: nn.LSTM, frames: Tensor) -> Tensor:
    zeros = frames.new_zeros(lstm.num_layers, frames.shape[1], lstm.hidden_size)
    arguments = (lstm._flat_weights, True, lstm.num_layers, 0.0, lstm.training, False, False)
    return torch._VF.lstm(frames, (zeros, zeros), *arguments)[0]


def _group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, NORM_EPS)


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _attend(block: AttentionBlock, x: Tensor) -> Tensor:
    query, key, value = block.query(x), block.key(x), block.value(x)  # (B, C, F)
    weights = torch.bmm(query.transpose(1, 2), key) / math.sqrt(query.shape[1])  # (B, F, F)
    mixed = torch.bmm(value, weights.softmax(dim=2).transpose(1, 2))
    out: Tensor = block.out(mixed)
    return out
