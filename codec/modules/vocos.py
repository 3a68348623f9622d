"""Decoder backbone: latents to features for the inverse-STFT head.

Vocos' ConvNeXt stack (arXiv 2306.00814) behind the residual and attention blocks that WavTokenizer put before it
(arXiv 2408.16532). Group norm and attention look at the whole utterance, so this backbone cannot stream and must not
see padding: in a batch of different lengths every part takes the mask of :mod:`codec.modules.masked`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import DecoderConfig
from codec.modules.masked import GroupNorm, masked
from codec.modules.unset import truncated_normal_

NORM_EPS = 1e-6


class ResidualBlock(nn.Module):
    """Two (group norm, SiLU, conv 3) with dropout before the second convolution, added to the input."""

    def __init__(self, dim: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, dim, eps=NORM_EPS)
        self.conv1 = nn.Conv1d(dim, dim, 3, padding=1)
        self.norm2 = GroupNorm(groups, dim, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, F) -> (B, C, F)."""
        hidden = self.conv1(masked(F.silu(self.norm1(x, mask)), mask))
        return x + self.conv2(self.dropout(masked(F.silu(self.norm2(hidden, mask)), mask)))


class AttentionBlock(nn.Module):
    """Single-head attention over all frames, without mask or positions, added to the input."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, dim, eps=NORM_EPS)
        self.query = nn.Conv1d(dim, dim, 1)
        self.key = nn.Conv1d(dim, dim, 1)
        self.value = nn.Conv1d(dim, dim, 1)
        self.out = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, F) -> (B, C, F)."""
        normed = self.norm(x, mask)
        # One head of width C: (B, 1, F, C). The fused kernel never keeps the F x F matrix.
        query, key, value = (layer(normed).transpose(1, 2).unsqueeze(1) for layer in (self.query, self.key, self.value))
        keys = None if mask is None else mask.unsqueeze(1)  # (B, 1, 1, F), the same for every query
        mixed = F.scaled_dot_product_attention(query, key, value, keys)  # scaled by 1 / sqrt(C)
        return x + self.out(mixed.squeeze(1).transpose(1, 2))


class ConvNeXtBlock(nn.Module):
    """Depthwise conv 7, layer norm, GELU bottleneck, learned scale, added to the input."""

    def __init__(self, dim: int, hidden_dim: int, initial_scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.expand = nn.Linear(dim, hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), initial_scale))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, F) -> (B, C, F)."""
        hidden = self.norm(self.depthwise(masked(x, mask)).transpose(1, 2))  # (B, F, C)
        hidden = self.scale * self.contract(F.gelu(self.expand(hidden)))
        return x + hidden.transpose(1, 2)


class VocosBackbone(nn.Module):
    """(B, latent_dim, F) -> (B, F, dim)."""

    def __init__(self, latent_dim: int, config: DecoderConfig) -> None:
        super().__init__()
        dim, groups = config.dim, config.group_norm_groups
        self.embed = nn.Conv1d(latent_dim, dim, 7, padding=3)

        def residual_blocks() -> list[nn.Module]:
            return [ResidualBlock(dim, groups, config.dropout) for _ in range(config.residual_blocks)]

        attention = [AttentionBlock(dim, groups)] if config.attention else []
        self.mixer = nn.Sequential(
            *residual_blocks(), *attention, *residual_blocks(), GroupNorm(groups, dim, eps=NORM_EPS)
        )
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(dim, config.hidden_dim, 1 / config.layers) for _ in range(config.layers))
        )
        self.final_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        # The published model re-initialises these and leaves the mixer at PyTorch's defaults.
        for part in (self.embed, self.blocks):
            part.apply(_init_truncated_normal)

    def forward(self, latent: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, D, F) -> (B, F, dim).

        Args:
            latent: of a batch.
            mask: (B, 1, F), True where a frame is its row's own, if the rows' lengths differ. A row's own features are
                then those of the row alone up to rounding; those behind mean nothing.
        """
        x = self.embed(masked(latent, mask))
        for part in self.mixer:
            x = part(x, mask)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, mask)
        return self.final_norm(x.transpose(1, 2))


def _init_truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Linear):
        truncated_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
