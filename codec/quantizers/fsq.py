"""Finite scalar quantisation (arXiv 2309.15505): a few dimensions, each rounded to a few levels. No codebook."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from codec.config import FSQConfig
from codec.quantizers.base import Coded, Quantizer, join_digits, split_digits
from codec.quantizers.projections import Projections


class FSQ(Quantizer[FSQConfig]):
    """D -> d dimensions, each bounded by tanh and rounded to one of its levels, d -> D; no loss of its own.

    With L levels, h = (L - 1) (1 + 1e-3) / 2, o = 1/2 for even L and 0 for odd:
    q = round(tanh(z + atanh(o / h)) h - o) / floor(L / 2), rounded straight-through.
    """

    def __init__(self, dim: int, config: FSQConfig) -> None:
        super().__init__(dim, config)
        self.levels = config.level_sizes
        self.projections = Projections(dim, len(self.levels))

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        bounded = self._bound(self.projections.inward(rows))
        steps = bounded + (bounded.round() - bounded).detach()  # (N, d) whole numbers from -floor(L / 2) on
        half = _per_level(self.levels, rows.device) // 2
        tokens = join_digits((steps.detach().nan_to_num() + half).long(), self.levels)
        return Coded(self.projections.outward(steps / half), tokens, rows.new_zeros(()))

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        steps = self._bound(self.projections.inward(rows)).round() + _per_level(self.levels, rows.device) // 2
        return join_digits(steps.long(), self.levels)

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return self.projections.outward(self._codes(tokens))

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Principal components of the latents (N, D) inwards, least squares outwards, whatever the method."""
        self.projections.start_inward(latents, generator, whiten=True)
        self.projections.fit_outward(self._codes(self.search_rows(latents.float())), latents.float())

    def _bound(self, z: Tensor) -> Tensor:
        levels = _per_level(self.levels, z.device)
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = 0.5 - 0.5 * (levels % 2)
        return torch.tanh(z + torch.atanh(offset / half)) * half - offset

    def _codes(self, tokens: Tensor) -> Tensor:
        half = _per_level(self.levels, tokens.device) // 2
        return (split_digits(tokens, self.levels) - half) / half


def _per_level(levels: Sequence[int], device: torch.device) -> Tensor:
    """(d,) filled in on the device: copied there, it would make the host wait for a GPU in every pass."""
    return torch.stack([torch.full((), level, dtype=torch.float32, device=device) for level in levels])
