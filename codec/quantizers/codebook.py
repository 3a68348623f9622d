"""What bottlenecks with a table of codes share: search, losses, and a start from latents."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.quantizers.kmeans import CODE_CHUNK, kmeans
from codec.quantizers.search import CodeChunk, half_squared_norms, nearest_codes

KMEANS_ITERATIONS = 20


def nearest_rows(rows: Tensor, codes: Tensor) -> Tensor:
    """Rows (N, D) and codes (K, D) -> index of the nearest code, (N,).

    Both are taken from the codes' mean: far from the origin the products would round the distances away.
    """
    codes = codes.detach().float()
    mean = codes.mean(dim=0)
    return nearest_codes(rows - mean, _chunks(codes, mean))


def _chunks(codes: Tensor, mean: Tensor) -> Iterator[CodeChunk]:
    for part in codes.split(CODE_CHUNK):
        centred = part - mean
        yield centred, half_squared_norms(centred)


def vq_loss(latent: Tensor, codes: Tensor, beta: float) -> Tensor:
    """beta * mean((z - sg[q])^2) + mean((q - sg[z])^2), means over all elements."""
    return beta * F.mse_loss(latent, codes.detach()) + F.mse_loss(codes, latent.detach())


def starting_codes(latents: Tensor, size: int, method: str, generator: torch.Generator) -> Tensor:
    """Codes that match latents.

    - ``kmeans``: the centres.
    - ``covariance``: random codes with the latents' mean and covariance.
    - ``shrunk``: the same with the covariance that a code of log2 size bits can follow (reverse water-filling).

    Args:
        latents: (N, D), N >= 1.
        size: how many codes.
        method: as above.
        generator: on the CPU.

    Returns:
        (size, D) float32.
    """
    latents = finite_latents(latents)
    if method == "kmeans":
        return kmeans(latents, size, KMEANS_ITERATIONS, generator)
    mean = latents.mean(dim=0)
    root = covariance_root(latents - mean, math.log2(size) if method == "shrunk" else None)
    noise = torch.randn(size, latents.shape[1], generator=generator).to(latents.device)
    return mean + noise @ root


def finite_latents(latents: Tensor) -> Tensor:
    """Latents (N, D) in float32, once it is sure that statistics of them mean something.

    Raises:
        CodecError: none at all, or some that are not finite.
    """
    if len(latents) == 0:
        raise CodecError("no latents to start the codebook from; give at least one")
    if not bool(latents.isfinite().all()):
        raise CodecError("latents with NaN or infinite values cannot start a codebook; train at a lower optimizer.lr")
    return latents.float()


def covariance_root(centred: Tensor, bits: float | None = None) -> Tensor:
    """The symmetric square root of the covariance of (N, D), (D, D); with ``bits`` above the water level only."""
    covariance = centred.T @ centred / len(centred)
    variances, directions = torch.linalg.eigh(covariance.cpu().double())  # not every device has float64
    variances = variances.clamp(min=0)
    if bits is not None:
        variances = (variances - water_level(variances, bits)).clamp(min=0)
    return ((directions * variances.sqrt()) @ directions.T).to(centred)


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
