"""Factorised codes: look-up in few dimensions by cosine (ViT-VQGAN, arXiv 2110.04627; DAC, arXiv 2306.06546)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import FactorizedConfig
from codec.quantizers.base import Coded, Quantizer, straight_through
from codec.quantizers.codebook import nearest_rows, starting_codes, vq_loss
from codec.quantizers.projections import Projections


class FactorizedVQ(Quantizer[FactorizedConfig]):
    """D -> d, the code of the nearest direction, d -> D.

    z = in(latent); k = argmax cos(z, e_k); out(e_k). loss = beta * mean((z - sg[e])^2) + mean((e - sg[z])^2) on the
    vectors as they are, not normalised, in d dimensions. Few dimensions keep every code near some latent. (DAC's
    maps are weight-normalised, a re-parameterisation of these.)
    """

    def __init__(self, dim: int, config: FactorizedConfig) -> None:
        super().__init__(dim, config)
        self.beta = config.commitment
        self.projections = Projections(dim, config.codebook_dim)
        self.codebook = nn.Parameter(torch.randn(config.codebook_size, config.codebook_dim))

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        z = self.projections.inward(rows)  # (N, d)
        tokens = self._nearest(z)
        codes = self.codebook[tokens]
        quantized = self.projections.outward(straight_through(z, codes))
        return Coded(quantized, tokens, vq_loss(z, codes, self.beta))

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Codes of the nearest direction, (N, D) -> (N,)."""
        return self._nearest(self.projections.inward(rows))

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return self.projections.outward(self.codebook[tokens])

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Principal components of the latents (N, D) inwards, codes from those, least squares outwards."""
        z = self.projections.start_inward(latents, generator, whiten=False)
        self.codebook.copy_(starting_codes(z, self.codebook_size, method, generator))
        self.projections.fit_outward(self.codebook[self._nearest(z)], latents.float())

    @torch.no_grad()
    def _nearest(self, z: Tensor) -> Tensor:
        return nearest_rows(F.normalize(z, dim=1), F.normalize(self.codebook, dim=1))
