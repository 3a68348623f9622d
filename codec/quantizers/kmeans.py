"""k-means for starting a codebook from data."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.quantizers.search import half_squared_norms, nearest_codes

CODE_CHUNK = 4096  # centres whose scores are held at once


@torch.no_grad()
def kmeans(points: Tensor, clusters: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Lloyd's algorithm from randomly drawn points.

    An empty cluster moves to a randomly drawn point with a little noise. With fewer points than clusters the points
    are drawn again and again, with noise, so that no two centres are equal.

    Args:
        points: (N, D) float32, N >= 1.
        clusters: how many centres.
        iterations: Lloyd steps.
        generator: on the CPU, for the draws.

    Returns:
        Centres (clusters, D).
    """
    noise_scale = 1e-2 * points.std(dim=0, correction=0)

    def draw(count: int) -> Tensor:
        order = torch.randperm(len(points), generator=generator)
        repeats = -(-count // len(points))
        return points[order.repeat(repeats)[:count].to(points.device)]

    def jitter(count: int) -> Tensor:
        return torch.randn(count, points.shape[1], generator=generator).to(points.device) * noise_scale

    centres = draw(clusters)
    if clusters > len(points):
        centres[len(points) :] += jitter(clusters - len(points))
    for _ in range(iterations):
        nearest = nearest_codes(points, ((codes, half_squared_norms(codes)) for codes in centres.split(CODE_CHUNK)))
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=clusters)
        empty = counts == 0
        centres = sums / counts.clamp(min=1).unsqueeze(1)
        how_many = int(empty.sum())
        if how_many:
            centres[empty] = draw(how_many) + jitter(how_many)
    return centres
