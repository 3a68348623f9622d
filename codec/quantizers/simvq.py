"""SimVQ: a frozen random codebook behind one learned linear layer (arXiv 2411.02038)."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import SimVQConfig
from codec.precision import full_float32
from codec.quantizers.base import Coded, Quantizer, straight_through
from codec.quantizers.codebook import KMEANS_ITERATIONS, covariance_root, finite_latents, vq_loss
from codec.quantizers.kept import Kept
from codec.quantizers.kmeans import kmeans
from codec.quantizers.search import CodeSearch, LinearCodes
from codec.quantizers.stablevq import RegionLoss, dynamic_gradient


class SimVQ(Quantizer[SimVQConfig]):
    """Codes are the rows of C W^T + b, with C ~ N(0, 1/D) frozen and W, b learned.

    One step of W moves every code, so none is left behind, which is what collapses a plain learned codebook.

    Training projects only the rows that were selected: the same values and gradients as projecting the whole codebook
    with gradient, without the K x D gradient. In eval mode what the search made of the codebook is kept until a weight
    changes.

    loss = beta * mean((sg[q] - z)^2) + mean((q - sg[z])^2), means over all elements, beta = ``config.commitment``.
    ``config.ste`` and ``config.region`` are StableVQ's changes to gradient and second term
    (:mod:`codec.quantizers.stablevq`).
    """

    codebook: Tensor  # C, (K, D): a buffer, or a parameter with trainable_codebook

    def __init__(self, dim: int, config: SimVQConfig) -> None:
        super().__init__(dim, config)
        self.beta = config.commitment
        codebook = torch.empty(config.codebook_size, dim)
        if config.codebook_init == "gaussian":
            nn.init.normal_(codebook, std=dim**-0.5)
        else:  # the same variance as the Gaussian
            nn.init.uniform_(codebook, -math.sqrt(3 / dim), math.sqrt(3 / dim))
        if config.trainable_codebook:
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)
        self.projection = nn.Linear(dim, dim, bias=config.bias)
        self.ste = config.ste
        self.region = (
            None if config.region is None else RegionLoss(self.codebook_size, config.region, config.region_window)
        )
        self._table: Kept[Tensor] = Kept()
        self._search = CodeSearch(config.search_chunk)

    def self_moving(self) -> list[Tensor]:
        """Since when codes have not been chosen, where the Region VQ loss asks."""
        return [] if self.region is None else [self.region.unused_for]

    def needs_whole_batch(self) -> bool:
        """See :meth:`Quantizer.needs_whole_batch`: dynamic gradients are relative to the nearest of a batch."""
        return self.ste == "dynamic" or super().needs_whole_batch()

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        tokens = self.search_rows(rows)
        q = self.projection(self.codebook[tokens])  # (N, D)
        if self.region is None:
            loss = vq_loss(rows, q, self.beta)
        else:
            loss = self.beta * F.mse_loss(rows, q.detach()) + self.region(rows, tokens, self)
        dynamic = self.ste == "dynamic" and self.training
        passed = dynamic_gradient(rows, q, tokens, self.codebook_size) if dynamic else rows
        return Coded(straight_through(passed, q), tokens, loss)

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Nearest codes, (N, D) -> (N,); ties go to the lowest index."""
        projection = self.projection
        bias = None if projection.bias is None else projection.bias.detach()
        codes = LinearCodes(self.codebook.detach(), projection.weight.detach(), bias)
        return self._search.nearest(rows, codes, keep=not self.training, frozen=not self.codebook.requires_grad)

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> projected codes (N, D)."""
        return self.projection(self.codebook[tokens])  # these rows only: most are not asked for

    def projected_codebook(self) -> Tensor:
        """C W^T + b, (K, D) float32, without gradient; kept while in eval mode."""
        if self.training:  # the weights change at every step: nothing to keep
            return self._project()
        trained: list[Tensor] = list(self.projection.parameters())
        frozen = [self.codebook]
        if self.codebook.requires_grad:
            trained, frozen = [*trained, self.codebook], []
        return self._table.get(trained, frozen, self._project)

    def _project(self) -> Tensor:
        with torch.no_grad(), torch.autocast(self.codebook.device.type, enabled=False), full_float32():
            return self.projection(self.codebook)

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Set W and b (and C, for k-means) so that the codes match the latents (N, D).

        - ``covariance``: codes get the latents' mean and covariance, W = sqrt(D) S^1/2, b = mean.
        - ``shrunk``: the same with the covariance that a code of log2 K bits can follow (reverse water-filling:
          directions weaker than the water level get nothing).
        - ``kmeans``: the codes are k-means centres; C holds them centred and scaled to unit mean row norm, W = s I.
        """
        latents = finite_latents(latents)
        # Without b nothing but C W^T can say the mean: then C stays uncentred, and W takes the second moments.
        bias = self.projection.bias
        mean = torch.zeros_like(latents[0]) if bias is None else latents.mean(dim=0)
        if method == "kmeans":
            centred = kmeans(latents, self.codebook_size, KMEANS_ITERATIONS, generator) - mean
            scale = centred.norm(dim=1).mean().clamp(min=1e-6)
            self.codebook.copy_(centred / scale)
            weight = scale * torch.eye(self.dim, device=latents.device)
        else:
            bits = math.log2(self.codebook_size) if method == "shrunk" else None
            weight = math.sqrt(self.dim) * covariance_root(latents - mean, bits)
        self.projection.weight.copy_(weight)
        if bias is not None:
            bias.copy_(mean)
        if self.region is not None:
            self.region.unused_for.fill_(self.region.window)

    def describe(self) -> dict[str, float]:
        """Frobenius norm and rank of W.

        ``effective_rank`` is exp(entropy of the normalised singular values) (Roy and Vetterli 2007), which falls
        before the numerical rank does.
        """
        weight = self.projection.weight.detach().float().cpu()
        if not bool(weight.isfinite().all()) or not bool(weight.any()):
            return {}
        values = torch.linalg.svdvals(weight)
        share = values / values.sum()
        return {
            "projection/norm": float(values.norm()),
            "projection/rank": float((values > values[0] * len(values) * torch.finfo(values.dtype).eps).sum()),
            "projection/effective_rank": float(torch.special.entr(share).sum().exp()),
        }

    def train(self, mode: bool = True) -> Self:
        """Switch mode; drops what was kept of the projected codebook."""
        self._drop()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._drop()  # moved or cast
        return super()._apply(fn, recurse)

    def _drop(self) -> None:
        self._table.drop()
        self._search.drop()
