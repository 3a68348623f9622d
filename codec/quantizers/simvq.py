"""SimVQ: a frozen random codebook behind one learned linear layer (arXiv 2411.02038)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import SimVQConfig
from codec.quantizers.base import Coded, Quantizer, straight_through
from codec.quantizers.codebook import KMEANS_ITERATIONS, covariance_root, finite_latents, vq_loss
from codec.quantizers.kmeans import kmeans
from codec.quantizers.search import CodeChunk, full_float32, half_squared_norms, nearest_codes
from codec.quantizers.stablevq import RegionLoss, dynamic_gradient


class _Projected(NamedTuple):
    """The projected codebook of one state of the weights."""

    weights: tuple[Tensor, ...]  # copies of the weights that are compared by value
    versions: tuple[tuple[int, int], ...]  # address and version of the others
    codes: Tensor  # (K, D)
    half_norms: Tensor  # (K,)


class SimVQ(Quantizer[SimVQConfig]):
    """Codes are the rows of C W^T + b, with C ~ N(0, 1/D) frozen and W, b learned.

    One step of W moves every code, so none is left behind, which is what collapses a plain learned codebook.

    Training projects only the rows that were selected: the same values and gradients as projecting the whole codebook
    with gradient, without the K x D gradient. In eval mode the projected codebook and its norms are kept until a
    weight changes.

    loss = beta * mean((sg[q] - z)^2) + mean((q - sg[z])^2), means over all elements, beta = ``config.commitment``.
    ``config.ste`` and ``config.region`` are StableVQ's changes to gradient and second term
    (:mod:`codec.quantizers.stablevq`).
    """

    codebook: Tensor  # C, (K, D): a buffer, or a parameter with trainable_codebook

    def __init__(self, dim: int, config: SimVQConfig) -> None:
        super().__init__(dim, config)
        self.beta = config.commitment
        self.search_chunk = config.search_chunk
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
        self._projected: _Projected | None = None

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
        """Nearest codes, (N, D) -> (N,), in float32."""
        return nearest_codes(rows, self._chunks())

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> projected codes (N, D)."""
        return self.projection(self.codebook[tokens])  # these rows only: most are not asked for

    def projected_codebook(self) -> Tensor:
        """C W^T + b, (K, D) float32, without gradient; kept while in eval mode."""
        return self._project_all().codes

    def _chunks(self) -> Iterator[CodeChunk]:
        if self.training:  # the weights change at every step: nothing to keep, and no K x D table
            for rows in self.codebook.detach().split(self.search_chunk):
                codes = self._project(rows)
                yield codes, half_squared_norms(codes)
        else:
            table = self._project_all()
            yield from zip(table.codes.split(self.search_chunk), table.half_norms.split(self.search_chunk), strict=True)

    def _project(self, rows: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(rows.device.type, enabled=False), full_float32():
            return F.linear(rows.float(), self.projection.weight.float(), _float(self.projection.bias))

    def _project_all(self) -> _Projected:
        # Fused optimisers do not raise a tensor's version, so trained weights are compared by value (D x D numbers).
        # The frozen C is moved by nothing but in-place operations and replacement, which version and address tell;
        # made in inference mode it has no version.
        frozen = [weight for weight in self.buffers() if not weight.is_inference()]
        versions = tuple((weight.data_ptr(), weight._version) for weight in frozen)
        trained = [*self.parameters(), *(weight for weight in self.buffers() if weight.is_inference())]
        kept = self._projected
        if kept and kept.versions == versions and all(map(torch.equal, kept.weights, trained)):
            return kept
        with torch.inference_mode(False):  # the table may outlive the caller's inference mode
            codes = self._project(self.codebook.detach())
            copies = tuple(weight.detach().clone() for weight in trained)
            made = _Projected(copies, versions, codes, half_squared_norms(codes))
        self._projected = None if self.training else made
        return made

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Set W and b (and C, for k-means) so that the codes match the latents (N, D).

        - ``covariance``: codes get the latents' mean and covariance, W = sqrt(D) S^1/2, b = mean.
        - ``shrunk``: the same with the covariance that a code of log2 K bits can follow (reverse water-filling:
          directions weaker than the water level get nothing).
        - ``kmeans``: the codes are k-means centres; C holds them centred and scaled to unit mean row norm, W = s I.
        """
        latents = finite_latents(latents)
        mean = latents.mean(dim=0)
        if method == "kmeans":
            centred = kmeans(latents, self.codebook_size, KMEANS_ITERATIONS, generator) - mean
            scale = centred.norm(dim=1).mean().clamp(min=1e-6)
            self.codebook.copy_(centred / scale)
            weight = scale * torch.eye(self.dim, device=latents.device)
        else:
            bits = math.log2(self.codebook_size) if method == "shrunk" else None
            weight = math.sqrt(self.dim) * covariance_root(latents - mean, bits)
        self.projection.weight.copy_(weight)
        if self.projection.bias is not None:
            self.projection.bias.copy_(mean)

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
        """Switch mode; leaving eval drops the projected codebook."""
        self._projected = None
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._projected = None  # moved or cast
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_projected": None}  # copies make their own


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()
