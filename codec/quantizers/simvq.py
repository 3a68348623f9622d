"""SimVQ: a frozen random codebook behind one learned linear layer (arXiv 2411.02038)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import QuantizerConfig
from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.kmeans import kmeans
from codec.quantizers.search import CodeChunk, full_float32, half_squared_norms, nearest_codes


class _Projected(NamedTuple):
    """The projected codebook of one state of the weights."""

    weights: tuple[Tensor, ...]  # copies of the weights that are compared by value
    versions: tuple[tuple[int, int], ...]  # address and version of the others
    codes: Tensor  # (K, D)
    half_norms: Tensor  # (K,)


class SimVQ(Quantizer):
    """Codes are the rows of C W^T + b, with C ~ N(0, 1/D) frozen and W, b learned.

    One step of W moves every code, so none is left behind, which is what collapses a plain learned codebook.

    Training projects only the rows that were selected: the same values and gradients as projecting the whole codebook
    with gradient, without the K x D gradient. In eval mode the projected codebook and its norms are kept until a
    weight changes.

    loss = beta * mean((sg[q] - z)^2) + mean((q - sg[z])^2), means over all elements, beta = ``config.commitment``.
    """

    codebook: Tensor  # C, (K, D): a buffer, or a parameter with trainable_codebook

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
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
        self._projected: _Projected | None = None

    def forward(self, latent: Tensor) -> QuantizerOutput:
        """(B, D, F) -> quantised latents with straight-through gradients, tokens, loss, metrics."""
        z = latent.float().transpose(1, 2)  # (B, F, D)
        tokens = self.encode(latent)
        with torch.autocast(latent.device.type, enabled=False):
            q = self.projection(self.codebook[tokens])  # (B, F, D)
            commitment = F.mse_loss(z, q.detach())
            loss = self.beta * commitment + F.mse_loss(q, z.detach())
            quantized = z + (q - z).detach()
        with torch.no_grad():
            variance = z.detach().flatten(0, 1).var(dim=0, correction=0).mean()
        metrics = {"quantization_error": commitment.detach(), "latent_variance": variance}
        return QuantizerOutput(quantized.transpose(1, 2), tokens, loss, metrics)

    @torch.no_grad()
    def encode(self, latent: Tensor) -> Tensor:
        """(B, D, F) -> nearest codes (B, F) int64, searched in float32."""
        B, D, frames = latent.shape
        queries = latent.transpose(1, 2).reshape(-1, D)
        return nearest_codes(queries, self._chunks()).view(B, frames)

    def decode(self, tokens: Tensor) -> Tensor:
        """(B, F) -> projected codes (B, D, F)."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self.projection(self.codebook[tokens]).transpose(1, 2)  # these rows only: most are not asked for

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
        latents = latents.float()
        mean = latents.mean(dim=0)
        if method == "kmeans":
            centred = kmeans(latents, self.codebook_size, KMEANS_ITERATIONS, generator) - mean
            scale = centred.norm(dim=1).mean().clamp(min=1e-6)
            self.codebook.copy_(centred / scale)
            weight = scale * torch.eye(self.dim, device=latents.device)
        else:
            covariance = (latents - mean).T @ (latents - mean) / len(latents)
            variances, directions = torch.linalg.eigh(covariance.cpu().double())  # not every device has float64
            variances = variances.clamp(min=0)
            if method == "shrunk":
                variances = (variances - water_level(variances, math.log2(self.codebook_size))).clamp(min=0)
            weight = math.sqrt(self.dim) * (directions * variances.sqrt()) @ directions.T
        self.projection.weight.copy_(weight)
        if self.projection.bias is not None:
            self.projection.bias.copy_(mean)

    def train(self, mode: bool = True) -> Self:
        """Switch mode; leaving eval drops the projected codebook."""
        self._projected = None
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._projected = None  # moved or cast
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_projected": None}  # copies make their own


KMEANS_ITERATIONS = 20


def water_level(variances: Tensor, bits: float) -> Tensor:
    """Reverse water-filling: the level t with sum(max(0, log2(variance / t) / 2)) = bits.

    Args:
        variances: (D,) of independent Gaussian directions.
        bits: rate a latent.

    Returns:
        () the level; 0 where there is no variance at all.
    """
    positive = variances[variances > 0].sort(descending=True).values
    if len(positive) == 0:
        return variances.new_zeros(())
    # With the n strongest directions under water only by t: log2 t = (sum log2 variance - 2 bits) / n.
    logs = positive.log2()
    counts = torch.arange(1, len(positive) + 1, device=variances.device)
    levels = (logs.cumsum(0) - 2 * bits) / counts
    below_own = logs >= levels  # direction n still stands out of the water
    last = int(below_own.nonzero().max())
    return 2 ** levels[last]


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()
