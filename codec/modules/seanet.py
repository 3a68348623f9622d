"""SEANet encoder: waveform to latents (EnCodec, arXiv 2210.13438; SimVQ uses it causal)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import EncoderConfig
from codec.modules.conv import Conv1d


class ResidualUnit(nn.Module):
    """ELU, conv k, ELU, conv 1 through a narrow middle, beside a 1x1 shortcut. Shape-preserving."""

    def __init__(self, channels: int, kernel_size: int, compress: int, *, causal: bool) -> None:
        super().__init__()
        hidden = channels // compress
        self.block = nn.Sequential(
            nn.ELU(),
            Conv1d(channels, hidden, kernel_size, causal=causal),
            nn.ELU(),
            Conv1d(hidden, channels, 1, causal=causal),
        )
        self.shortcut = Conv1d(channels, channels, 1, causal=causal)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return self.shortcut(x) + self.block(x)


class Stage(nn.Module):
    """Residual units, then a strided convolution that doubles the channels."""

    def __init__(self, channels: int, stride: int, config: EncoderConfig) -> None:
        super().__init__()
        self.units = nn.Sequential(
            *(
                ResidualUnit(channels, config.residual_kernel_size, config.compress, causal=config.causal)
                for _ in range(config.residual_layers)
            )
        )
        self.activation = nn.ELU()
        self.downsample = Conv1d(channels, 2 * channels, 2 * stride, stride, causal=config.causal)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, 2C, ceil(T / stride))."""
        return self.downsample(self.activation(self.units(x)))


class ResidualLSTM(nn.Module):
    """Unidirectional LSTM over frames, added to its input."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F) -> (B, C, F)."""
        out, _ = self.lstm(x.transpose(1, 2))
        return x + out.transpose(1, 2)


class SEANetEncoder(nn.Module):
    """(B, 1, T) -> (B, latent_dim, ceil(T / hop)), hop being the product of the strides.

    Zero right-padding by whole hops leaves the earlier frames bit-identical when causal. Left reflect padding lets the
    first frames see up to about 0.1 s ahead (reference sizes: 2,239 samples).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.stem = Conv1d(1, channels, config.kernel_size, causal=config.causal)
        stages = []
        for stride in config.strides:
            stages.append(Stage(channels, stride, config))
            channels *= 2
        self.stages = nn.Sequential(*stages)
        self.lstm = ResidualLSTM(channels, config.lstm_layers) if config.lstm_layers else nn.Identity()
        self.activation = nn.ELU()
        self.out = Conv1d(channels, config.latent_dim, config.last_kernel_size, causal=config.causal)
        self.unit_norm = config.unit_norm
        if config.init_gain is not None:
            for module in self.modules():
                if isinstance(module, nn.Conv1d):
                    _init_with_gain(module, config.init_gain)

    def forward(self, audio: Tensor) -> Tensor:
        """(B, 1, T) -> (B, D, F)."""
        latent = self.out(self.activation(self.lstm(self.stages(self.stem(audio)))))
        return F.normalize(latent, dim=1) if self.unit_norm else latent


@torch.no_grad()
def _init_with_gain(conv: nn.Conv1d, gain: float) -> None:
    inputs = conv.weight[0].numel()  # that a single output sums over
    conv.weight = torch.randn_like(conv.weight) * gain / math.sqrt(inputs)  # through the weight norm
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
