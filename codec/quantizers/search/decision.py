"""The nearest of the codes that a screen leaves, decided in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.quantizers.search.codes import CHUNK, LinearCodes

TIE = 2.0**-40
CROWD = 256  # codes left to a query, from which on a screen is given up for it
PAIRS = 4096  # queries and codes compared at once in float64
UNRULED = 256  # queries whose scores against CHUNK codes are held at once in float64


def nearest_of_all(centered: Tensor, codes: LinearCodes) -> Tensor:
    """The answers for queries less the center, (N, D) float64, without a screen: all codes in float64, slow."""
    return decided(centered, codes, *_unruled(centered, codes))


def _unruled(centered: Tensor, codes: LinearCodes) -> tuple[Tensor, Tensor]:
    """Pairs of a query and a code that may be its nearest, from scores in float64 of all codes."""
    square = centered.square().sum(dim=1)
    least = torch.full_like(square, torch.inf)
    which = index = torch.zeros(0, dtype=torch.int64, device=centered.device)
    lower = centered.new_zeros(0)
    for offset in range(0, len(codes), CHUNK):
        rows = codes.centered(slice(offset, offset + CHUNK))  # (k, D)
        half = rows.square().sum(dim=1) / 2
        slack = 2 * TIE * (square + half.max())  # (n,), far more than float64 loses
        for start in range(0, len(centered), UNRULED):
            part = slice(start, start + UNRULED)
            scores = torch.addmm(half, centered[part], rows.t(), alpha=-1)  # (n, k)
            least[part] = torch.minimum(least[part], scores.amin(dim=1) + slack[part])
            query, code = (scores <= (least[part] + slack[part]).unsqueeze(1)).nonzero(as_tuple=True)
            low = scores[query, code] - slack[part][query]
            query = query + start
            if len(query) > 8 * len(scores):  # codes that are equal: only the first can be the answer
                first = _first_of_equals(codes.table[offset : offset + CHUNK])
                keep = first[code] == code
                query, code, low = query[keep], code[keep], low[keep]
            which, index, lower = (torch.cat(both) for both in ((which, query), (index, code + offset), (lower, low)))
        left = lower <= least[which]
        which, index, lower = which[left], index[left], lower[left]
    return which, index


def _first_of_equals(rows: Tensor) -> Tensor:
    """(k, D) -> (k,) the first row that equals each."""
    inverse = torch.unique(rows, dim=0, return_inverse=True)[1]
    first = torch.full_like(inverse, len(rows))
    first.scatter_reduce_(0, inverse, torch.arange(len(rows), device=rows.device), "amin")
    return first[inverse]


def sharpened(
    centered: Tensor, codes: LinearCodes, which: Tensor, index: Tensor, lower: Tensor
) -> tuple[Tensor, Tensor]:
    """The pairs that are left once the most promising code of each query is measured in float64."""
    several = torch.bincount(which, minlength=len(centered)) > 1
    first = centered.new_full((len(centered),), torch.inf).scatter_reduce_(0, which, lower, "amin")
    promising = several[which] & (lower == first[which])
    query = which[promising]
    score = (_distances(centered, codes, query, index[promising]) - centered[query].square().sum(dim=1)) / 2
    least = centered.new_full((len(centered),), torch.inf).scatter_reduce_(0, query, score, "amin")
    left = lower <= least[which]
    return which[left], index[left]


def decided(centered: Tensor, codes: LinearCodes, which: Tensor, index: Tensor) -> Tensor:
    """The answers (N,), given for each query all codes that may be its nearest."""
    tokens = torch.zeros(len(centered), dtype=torch.int64, device=centered.device)
    count = torch.bincount(which, minlength=len(centered))
    alone = count[which] == 1
    tokens[which[alone]] = index[alone]
    which, index = which[~alone], index[~alone]
    distance = _distances(centered, codes, which, index)  # (M,)
    least = centered.new_full((len(centered),), torch.inf).scatter_reduce_(0, which, distance, "amin")
    tied = distance <= least[which] + TIE * (least[which] + centered[which].square().sum(dim=1))
    lowest = torch.full_like(tokens, len(codes)).scatter_reduce_(0, which[tied], index[tied], "amin")
    return torch.where(count > 1, lowest.clamp(max=len(codes) - 1), tokens)


def _distances(centered: Tensor, codes: LinearCodes, which: Tensor, index: Tensor) -> Tensor:
    """Squared distances of pairs of a query and a code, (M,) float64."""
    distances = torch.empty(len(which), dtype=centered.dtype, device=centered.device)
    if len(index) == 0:
        return distances
    for pairs in index.argsort().split(PAIRS):  # pairs of one code together: its row is computed once
        each, inverse = index[pairs].unique_consecutive(return_inverse=True)
        distances[pairs] = (centered[which[pairs]] - codes.centered(each)[inverse]).square().sum(dim=1)
    return distances
