"""Nearest-code search without an N x K matrix."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from codec.precision import full_float32

QUERY_CHUNK = 2048  # queries whose scores against one chunk of codes are held at once

CodeChunk = tuple[Tensor, Tensor]  # codes (k, D) and half their squared norms (k,), float32


def half_squared_norms(codes: Tensor) -> Tensor:
    """(K, D) -> |c|^2 / 2, (K,)."""
    return codes.square().sum(dim=1) / 2


def nearest_codes(queries: Tensor, chunks: Iterable[CodeChunk]) -> Tensor:
    """Index of the nearest code in squared Euclidean distance; ties go to the lowest index.

    argmin |z - c|^2 = argmin |c|^2 / 2 - z.c: the queries' own norm does not matter. Runs in full float32 whatever the
    autocast and the caller's leave for speed, because half-precision scores change the answer (0.4-2.2 % of indices at
    K = 65,536).

    Args:
        queries: (N, D).
        chunks: the codebook in order, in pieces.

    Returns:
        (N,) int64. A query with a NaN gets code 0.
    """
    queries = queries.float()
    best_score = queries.new_full((queries.shape[0],), torch.inf)
    best = torch.zeros(queries.shape[0], dtype=torch.int64, device=queries.device)
    offset = 0
    with torch.autocast(queries.device.type, enabled=False), full_float32():
        for codes, half_norms in chunks:
            for start in range(0, queries.shape[0], QUERY_CHUNK):
                rows = slice(start, start + QUERY_CHUNK)
                scores = torch.addmm(half_norms, queries[rows], codes.t(), alpha=-1)  # (n, k)
                score, index = scores.min(dim=1)
                closer = score < best_score[rows]  # strictly: an earlier chunk keeps a tie
                best_score[rows] = torch.where(closer, score, best_score[rows])
                best[rows] = torch.where(closer, index + offset, best[rows])
            offset += codes.shape[0]
    return best
