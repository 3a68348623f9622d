"""CVQ-VAE (arXiv 2307.15139): codes that are rarely chosen run after anchors among the latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.config import CVQConfig
from codec.quantizers.base import Coded
from codec.quantizers.ema import random_latents
from codec.quantizers.processes import gather_rows, same_everywhere, sum_over_processes
from codec.quantizers.vq import VQ

ELEMENTS = 1 << 24  # similarities held at once


class CVQ(VQ):
    """A learned codebook, and after each training pass e_k <- (1 - a_k) e_k + a_k anchor_k with

    p_k <- g p_k + (1 - g) share of this step's latents that chose k,  a_k = exp(-10 K p_k / (1 - g) - 0.001).

    Anchors are latents of this step: the ``closest`` to each code, ``random`` ones, or drawn with probability
    softmax_n(cos(z_n, e_k)) (``probrandom``, the paper's, by the published code's default: of Euclidean distances, with
    latents of variance 1 in many dimensions, the draw would be the closest one). Codes move outside the optimiser, on
    top of its steps. All other distances are Euclidean, as everywhere here.
    """

    shares: Tensor  # p, (K,)

    def __init__(self, dim: int, config: CVQConfig) -> None:
        super().__init__(dim, config)
        self.decay, self.anchor = config.decay, config.anchor
        self.register_buffer("shares", torch.zeros(config.codebook_size))

    def self_moving(self) -> list[Tensor]:
        """Codes, and how often they are chosen."""
        return [self.codebook, self.shares]

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Codes from latents, none chosen yet: as published, what the first step does not choose moves at once."""
        super().initialize(latents, method, generator)
        self.shares.zero_()

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D); in training mode the codes move afterwards."""
        coded = super().quantize_rows(rows)
        if self.training:
            self._move(gather_rows(rows), coded.tokens)
        return coded

    @torch.no_grad()
    def _move(self, rows: Tensor, tokens: Tensor) -> None:
        counts = torch.zeros_like(self.shares).index_add_(0, tokens, torch.ones_like(tokens, dtype=self.shares.dtype))
        shares = torch.lerp(sum_over_processes(counts) / len(rows), self.shares, self.decay)
        pace = torch.exp(-10 * self.codebook_size * shares / (1 - self.decay) - 1e-3).unsqueeze(1)
        finite = rows.isfinite().all()
        self.shares.copy_(torch.where(finite, shares, self.shares))
        # .data: the value is not needed by this step's backward pass, and the optimiser's step comes on top.
        self.codebook.data.copy_(
            torch.where(finite, torch.lerp(self.codebook, self._anchors(rows), pace), self.codebook)
        )

    def _anchors(self, rows: Tensor) -> Tensor:
        if self.anchor == "random":
            return random_latents(rows, self.codebook_size)
        picked = []
        directions = F.normalize(rows, dim=1)
        for codes in self.codebook.split(max(1, ELEMENTS // len(rows))):
            if self.anchor == "closest":
                score = -torch.cdist(codes, rows)  # (k, N)
            else:  # Gumbel-max: the largest is a draw from the softmax
                score = F.normalize(codes, dim=1) @ directions.T
                score = score - torch.empty_like(score).exponential_().log()
            picked.append(score.argmax(dim=1))
        return rows[same_everywhere(torch.cat(picked))]
