"""Linear maps into a narrow space and back, for bottlenecks that quantise there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codec.quantizers.codebook import finite_latents

RIDGE = 1e-4  # share of the mean variance, added so that least squares always has a solution


class Projections(nn.Module):
    """D -> d (``inward``) and d -> D (``outward``)."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(dim, inner), nn.Linear(inner, dim)

    @torch.no_grad()
    def start_inward(self, latents: Tensor, generator: torch.Generator, *, whiten: bool) -> Tensor:
        """Let ``inward`` give the principal components of latents (N, D), each of variance 1 with ``whiten``.

        Without, they keep their variances, and losses inside their scale. Where d > D, random directions turn them
        into d dimensions.

        Returns:
            What it then gives, (N, d).
        """
        latents = finite_latents(latents)
        inner, dim = self.inward.weight.shape
        mean = latents.mean(dim=0)
        covariance = (latents - mean).T @ (latents - mean) / len(latents)
        variances, directions = torch.linalg.eigh(covariance.cpu().double())  # not every device has float64
        strongest = variances.flip(0).clamp(min=0)[: min(inner, dim)]
        # A direction without variance stays without: dividing by it would blow up rounding errors.
        scale = torch.where(strongest > 1e-9 * strongest[0], strongest, torch.inf).rsqrt()
        weight = (directions.flip(1)[:, : len(scale)] * (scale if whiten else 1.0)).T
        if inner > dim:
            turned = torch.linalg.qr(torch.randn(inner, dim, generator=generator, dtype=torch.float64)).Q
            weight = (inner / dim) ** 0.5 * turned @ weight
        self.inward.weight.copy_(weight)
        self.inward.bias.copy_(-self.inward.weight @ mean)
        return self.inward(latents)

    @torch.no_grad()
    def fit_outward(self, codes: Tensor, latents: Tensor) -> None:
        """Let ``outward`` map codes (N, d) to latents (N, D) as well as a linear map can (least squares)."""
        mean, target = codes.mean(dim=0), latents.mean(dim=0)
        centred = codes - mean
        covariance = centred.T @ centred / len(codes)
        ridge = RIDGE * covariance.diagonal().mean().clamp(min=1e-6) * torch.eye(len(mean), device=codes.device)
        weight = torch.linalg.solve((covariance + ridge).cpu(), (centred.T @ (latents - target) / len(codes)).cpu()).T
        self.outward.weight.copy_(weight)
        self.outward.bias.copy_(target - self.outward.weight @ mean)
