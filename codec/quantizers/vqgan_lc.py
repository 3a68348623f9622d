"""VQGAN-LC (arXiv 2406.11837): a large frozen codebook of features behind a learned projector into few dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import VQGANLCConfig
from codec.quantizers.base import Coded, Quantizer, straight_through
from codec.quantizers.codebook import finite_latents, nearest_rows, starting_codes
from codec.quantizers.projections import Projections


class VQGANLC(Quantizer[VQGANLCConfig]):
    """z = in(latent) in d dimensions; the nearest of P C + b, C (K, D) frozen, P and b learned; out.

    The paper's C are k-means centres of CLIP features. Speech has no such encoder at hand: here the start from a
    warmed-up encoder's latents sets C (k-means), and without a start C is Gaussian.
    loss = beta * mean((z - sg[q])^2) + 0.33 * mean((q - sg[z])^2), beta = 1 in the paper.
    """

    features: Tensor  # C, (K, D)

    def __init__(self, dim: int, config: VQGANLCConfig) -> None:
        super().__init__(dim, config)
        self.beta = config.commitment
        self.projections = Projections(dim, config.codebook_dim)
        self.projector = nn.Linear(dim, config.codebook_dim)
        self.register_buffer("features", torch.randn(config.codebook_size, dim) * dim**-0.5)

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        z = self.projections.inward(rows)  # (N, d)
        tokens = self._nearest(z)
        codes = self.projector(self.features[tokens])
        loss = self.beta * F.mse_loss(z, codes.detach()) + CODEBOOK_WEIGHT * F.mse_loss(codes, z.detach())
        return Coded(self.projections.outward(straight_through(z, codes)), tokens, loss)

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Nearest projected features, (N, D) -> (N,)."""
        return self._nearest(self.projections.inward(rows))

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return self.projections.outward(self.projector(self.features[tokens]))

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """C from latents (N, D), projected as they are."""
        latents = finite_latents(latents)
        z = self.projections.start_inward(latents, generator, whiten=False)
        self.features.copy_(starting_codes(latents, self.codebook_size, method, generator))
        self.projector.load_state_dict(self.projections.inward.state_dict())
        self.projections.fit_outward(self.projector(self.features[self._nearest(z)]), latents)

    @torch.no_grad()
    def _nearest(self, z: Tensor) -> Tensor:
        return nearest_rows(z, self.projector(self.features))


CODEBOOK_WEIGHT = 0.33
