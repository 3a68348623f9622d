"""SC-VAE (arXiv 2303.16666) as a codec: sparse codes by unrolled iterations, of which the strongest is sent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import SCVAEConfig
from codec.quantizers.base import Coded, Quantizer, straight_through
from codec.quantizers.codebook import KMEANS_ITERATIONS, finite_latents, starting_codes, vq_loss
from codec.quantizers.kmeans import kmeans


class SCVAE(Quantizer[SCVAEConfig]):
    """A learned dictionary of A atoms d_k and LISTA: with y = D' (z - m), soft(x, t) = sign(x) max(|x| - t, 0),

    a_0 = soft(y / c, t), a_(i+1) = soft(a_i - D' D a_i / c + y / c, t), 16 times; t the threshold, c learned.
    (Published: t = b / c, so that learning c scales the threshold too.)

    The published codes are real numbers. Here a rate is defined: a token is the atom with the largest |a_k| and one of
    G learned gains for it, K = A G (gain-shape quantisation, the 1-sparse case of dictionary learning), and stands for
    m + gain d_k, the gain nearest to the projection of z - m on d_k. loss = beta * mean((z - sg[q])^2)
    + mean((q - sg[z])^2) + mean((z - m - D a)^2), the last the published one.
    """

    def __init__(self, dim: int, config: SCVAEConfig) -> None:
        super().__init__(dim, config)
        self.config = config
        atoms = config.codebook_size // config.gain_levels
        self.dictionary = nn.Parameter(F.normalize(torch.randn(atoms, dim), dim=1))  # (A, D)
        self.center = nn.Parameter(torch.zeros(dim))
        self.gains = nn.Parameter(torch.linspace(-1, 1, config.gain_levels))
        # c >= the largest eigenvalue of D' D keeps the iteration stable; this is its size for random atoms.
        self.log_c = nn.Parameter(torch.full((), 2 * math.log(1 + math.sqrt(atoms / dim))))

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        sparse = self._sparse(rows)
        with torch.no_grad():
            tokens = self._choose(rows, sparse)
        codes = self.look_up(tokens)
        dense = F.mse_loss(self.center + sparse @ self.dictionary, rows)
        metrics = {"active_atoms": (sparse.detach() != 0).float().sum(dim=1).mean()}
        return Coded(
            straight_through(rows, codes), tokens, vq_loss(rows, codes, self.config.commitment) + dense, metrics
        )

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        return self._choose(rows, self._sparse(rows))

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        levels = self.config.gain_levels
        return self.center + self.gains[tokens % levels].unsqueeze(1) * self.dictionary[tokens // levels]

    def _sparse(self, rows: Tensor) -> Tensor:
        """LISTA: (N, D) -> (N, A)."""
        step, threshold = torch.exp(-self.log_c), self.config.threshold
        drive = step * (rows - self.center) @ self.dictionary.T
        gram = step * self.dictionary @ self.dictionary.T
        sparse = F.softshrink(drive, threshold)
        for _ in range(self.config.iterations):
            sparse = F.softshrink(sparse - sparse @ gram + drive, threshold)
        return sparse

    def _choose(self, rows: Tensor, sparse: Tensor) -> Tensor:
        # Where the threshold has silenced all atoms, the best single one is the most parallel one.
        parallel = (rows - self.center) @ F.normalize(self.dictionary, dim=1).T
        silent = (sparse == 0).all(dim=1, keepdim=True)
        atom = torch.where(silent, parallel, sparse).abs().argmax(dim=1)
        shape = self.dictionary[atom]
        gain = ((rows - self.center) * shape).sum(dim=1) / shape.square().sum(dim=1).clamp(min=1e-12)
        level = (gain.unsqueeze(1) - self.gains).abs().argmin(dim=1)
        return atom * self.config.gain_levels + level

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """The latents' mean, atoms in the directions of codes for them, and gains as k-means centres."""
        latents = finite_latents(latents)
        self.center.copy_(latents.mean(dim=0))
        centred = latents - self.center
        self.dictionary.copy_(F.normalize(starting_codes(centred, len(self.dictionary), method, generator), dim=1))
        self.log_c.copy_(torch.linalg.matrix_norm(self.dictionary.cpu(), 2).square().clamp(min=1e-6).log())
        atom = (centred @ self.dictionary.T).abs().argmax(dim=1)
        gain = (centred * self.dictionary[atom]).sum(dim=1, keepdim=True)
        self.gains.copy_(kmeans(gain, len(self.gains), KMEANS_ITERATIONS, generator).flatten().sort().values)
