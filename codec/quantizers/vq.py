"""A learned codebook, straight-through (VQ-VAE, arXiv 1711.00937): what all the others are measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codec.config import CVQConfig, RotationConfig, VQConfig, VQWAEConfig
from codec.quantizers.base import Coded, straight_through
from codec.quantizers.codebook import vq_loss
from codec.quantizers.table import TableQuantizer


class VQ(TableQuantizer[VQConfig | RotationConfig | CVQConfig | VQWAEConfig]):
    """The nearest of K learned codes.

    Only codes that were chosen move; the others are left behind as the encoder moves, which is how the codebook
    collapses.

    loss = beta * mean((sg[q] - z)^2) + mean((q - sg[z])^2), as in VQGAN; codes start uniform in (-1/K, 1/K).
    """

    def __init__(self, dim: int, config: VQConfig | RotationConfig | CVQConfig | VQWAEConfig) -> None:
        super().__init__(dim, config)
        self.beta = config.commitment
        bound = 1 / config.codebook_size
        self.codebook = nn.Parameter(torch.empty(config.codebook_size, dim).uniform_(-bound, bound))

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        tokens = self.search_rows(rows)
        codes = self.codebook[tokens]
        return Coded(straight_through(rows, codes), tokens, vq_loss(rows, codes, self.beta))
