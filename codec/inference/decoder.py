"""The decoder as it is run, not trained: frames before channels throughout, products in the precision asked for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.inference.winograd import WinogradConv
from codec.modules.istft import ISTFTHead
from codec.modules.vocos import NORM_EPS, AttentionBlock, ConvNeXtBlock, ResidualBlock, VocosBackbone

# Frames that go through a wide layer at a time on a CPU, at most: of more, what lies between the layers does not stay
# in the cache; of few, matrix products lose a tenth of their rate.
PIECE_FRAMES = 1024


class _Conv(NamedTuple):
    kernel: Tensor  # (C_out, C_in / groups, 1, k), channels last
    bias: Tensor | None
    groups: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B, F, C_in) -> (B, F, C_out), zero-padded."""
        columns = x.transpose(1, 2).unsqueeze(2).to(self.kernel.dtype)  # channels-last memory: nothing is copied
        padding = (0, self.kernel.shape[-1] // 2)
        out = F.conv2d(columns, self.kernel, self.bias, 1, padding, 1, self.groups)
        return out.squeeze(2).transpose(1, 2)


class _Depthwise(NamedTuple):
    """Seven taps a channel or so: bound by memory, so that what counts is how often it is read."""

    conv: _Conv
    taps: Tensor  # (k, C)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, F, C) -> (B, F, C), zero-padded."""
        # cuDNN, which CUDA has for this layout, may take many times the reading and writing of a float32 tensor.
        return self.conv(x) if x.device.type == "cpu" else self.shifted(x)

    def shifted(self, x: Tensor) -> Tensor:
        """The same as a sum of shifted copies, a pass over memory for each tap."""
        F_, k = x.shape[1], len(self.taps)
        padded = F.pad(x, (0, 0, k // 2, k // 2))  # (B, F + k - 1, C)
        out = padded[:, :F_] * self.taps[0]
        if self.conv.bias is not None:
            out += self.conv.bias
        for tap in range(1, k):
            out.addcmul_(padded[:, tap : tap + F_], self.taps[tap])
        return out


class _Linear(NamedTuple):
    weight: Tensor  # (out, in)
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class _Norm(NamedTuple):
    """Group norm (``groups`` > 0) or layer norm over (B, F, C), float32."""

    weight: Tensor
    bias: Tensor
    groups: int

    def __call__(self, x: Tensor) -> Tensor:
        if not self.groups:
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, NORM_EPS)
        columns = x.transpose(1, 2).unsqueeze(2)  # channels last
        return F.group_norm(columns, self.groups, self.weight, self.bias, NORM_EPS).squeeze(2).transpose(1, 2)


class _Residual(NamedTuple):
    norm1: _Norm
    conv1: _Conv | WinogradConv
    norm2: _Norm
    conv2: _Conv | WinogradConv

    def __call__(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x), inplace=True)).float()
        return x + self.conv2(F.silu(self.norm2(hidden), inplace=True))


class _Attention(NamedTuple):
    norm: _Norm
    query: _Linear
    key: _Linear
    value: _Linear
    out: _Linear

    def __call__(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        # One head of width C: (B, 1, F, C), contiguous, for the kernel that never keeps the F x F matrix.
        query, key, value = (layer(normed).unsqueeze(1) for layer in (self.query, self.key, self.value))
        return x + self.out(F.scaled_dot_product_attention(query, key, value).squeeze(1))


class _ConvNeXt(NamedTuple):
    depthwise: _Depthwise
    norm: _Norm
    expand: _Linear
    contract: _Linear
    scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        mixed = self.depthwise(x)
        if x.device.type != "cpu":
            return self._pointwise(x, mixed, None)
        count = -(-x.shape[1] // PIECE_FRAMES)  # frame by frame the same
        for piece, around in zip(x.chunk(count, dim=1), mixed.chunk(count, dim=1), strict=True):
            self._pointwise(piece, around, piece)  # the stream is nobody else's
        return x

    def _pointwise(self, x: Tensor, mixed: Tensor, out: Tensor | None) -> Tensor:
        hidden = torch.ops.aten.gelu_(self.expand(self.norm(mixed)))  # in place, which F.gelu cannot
        return torch.addcmul(x, self.contract(hidden).to(x.dtype), self.scale, out=out)


class PreparedDecoder:
    """:class:`VocosBackbone` and its head without gradient, in eval mode; equal lengths only.

    The outputs are the modules' up to rounding. In a ``dtype`` of half precision, matrix products and convolutions run
    in it; the residual stream, norms, depthwise convolutions and the inverse STFT stay in float32.

    Args:
        backbone: whose convolutions are copied; in half precision, everything but the norms.
        head: used as it is.
        dtype: of the products.
    """

    def __init__(self, backbone: VocosBackbone, head: ISTFTHead, dtype: torch.dtype) -> None:
        self.head = head
        self.embed = _conv(backbone.embed, dtype)
        self.mixer = [_mixed(part, dtype) for part in backbone.mixer]
        self.norm = _norm(backbone.norm)
        self.blocks = [_convnext(block, dtype) for block in backbone.blocks]
        self.final_norm = _norm(backbone.final_norm)

    def __call__(self, quantized: Tensor) -> Tensor:
        """(B, D, F) -> (B, 1, F * hop), float32."""
        x = self.embed(quantized.transpose(1, 2)).float()  # (B, F, C) from here on
        for part in self.mixer:
            x = part(x)
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        audio: Tensor = self.head(self.final_norm(x))
        return audio


def _conv(layer: nn.Conv1d, dtype: torch.dtype) -> _Conv | WinogradConv:
    if dtype == torch.float32 and WinogradConv.takes(layer):
        return WinogradConv(layer)
    return _direct(layer, dtype)


def _direct(layer: nn.Conv1d, dtype: torch.dtype) -> _Conv:
    kernel = layer.weight.detach().unsqueeze(2).to(dtype).contiguous(memory_format=torch.channels_last)
    return _Conv(kernel, None if layer.bias is None else layer.bias.detach().to(dtype), layer.groups)


def _pointwise(layer: nn.Conv1d, dtype: torch.dtype) -> _Linear:
    assert layer.bias is not None
    return _Linear(layer.weight.detach()[..., 0].to(dtype).contiguous(), layer.bias.detach().to(dtype))


def _norm(layer: nn.GroupNorm | nn.LayerNorm) -> _Norm:
    groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else 0
    return _Norm(layer.weight.detach(), layer.bias.detach(), groups)


def _mixed(part: nn.Module, dtype: torch.dtype) -> _Residual | _Attention | _Norm:
    if isinstance(part, ResidualBlock):
        return _Residual(_norm(part.norm1), _conv(part.conv1, dtype), _norm(part.norm2), _conv(part.conv2, dtype))
    if isinstance(part, AttentionBlock):
        layers = (_pointwise(layer, dtype) for layer in (part.query, part.key, part.value, part.out))
        return _Attention(_norm(part.norm), *layers)
    assert isinstance(part, nn.GroupNorm)
    return _norm(part)


def _convnext(block: nn.Module, dtype: torch.dtype) -> _ConvNeXt:
    assert isinstance(block, ConvNeXtBlock)
    expand, contract = (
        _Linear(layer.weight.detach().to(dtype), layer.bias.detach().to(dtype))
        for layer in (block.expand, block.contract)
    )
    # The depthwise convolution is too small to gain from half precision.
    taps = block.depthwise.weight.detach()[:, 0].t().contiguous()  # (k, C)
    depthwise = _Depthwise(_direct(block.depthwise, torch.float32), taps)
    return _ConvNeXt(depthwise, _norm(block.norm), expand, contract, block.scale.detach())
