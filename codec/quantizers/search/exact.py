"""The nearest code, decided in float64 among the few that a screen cannot rule out.

**What is the answer.** Codes are W C_k + b in exact arithmetic on the float32 weights; distances are evaluated in
float64, and the answer is the least. Distances that agree to TIE of |z - b|^2 + |z - c|^2 count as equal, and of equals
the lowest index wins: float64 resolves a thousand times less than TIE, so the answer does not depend on how the codes
are cut into chunks, on the batch, the device or the number of threads. A search in plain float32 gives the same tokens
but for the rare latent whose two nearest codes are closer than float32 can tell apart, where its answer depends on the
order in which it adds up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from codec.quantizers.search.codes import CHUNK, LinearCodes
from codec.quantizers.search.plain import QUERY_CHUNK, full_float32
from codec.quantizers.search.screen import BLOCK, HALF_ULP, PARTS, Screen, ScreenChunk, parts

TIE = 2.0**-40
CROWD = 256  # codes left to a query, from which on the screen is given up for it
PAIRS = 4096  # queries and codes compared at once in float64
UNRULED = 256  # queries whose scores against CHUNK codes are held at once in float64
SAMPLE = 1024  # codes that give a first idea of the least score
TINY = 1e-30  # matrix units take smaller products for 0


class Bounds(NamedTuple):
    """How far a screen's score s of a code can be from the true one: e D + e^2 / 2 + other, D = |z - a|.

    s_true - s = (c - a).((c + a) / 2 - z) + what ``other`` bounds, |c - a| <= e, D^2 <= 2 (s + other) + |z|^2.
    """

    error: Tensor  # () e
    other: Tensor  # (n,)
    square: Tensor  # (n,) |z|^2

    def upper(self, score: Tensor) -> Tensor:
        """The true score is at most this; rises with the score."""
        return score + self._off(score)

    def lower(self, score: Tensor) -> Tensor:
        """The true score is at least this."""
        return score - self._off(score)

    def limit(self, upper: Tensor) -> Tensor:
        """Codes whose true score can be ``upper`` or less have at most this score: ``lower`` solved for the score."""
        e = self.error
        distance = e + (2 * e.square() + 2 * upper + self.square + 4 * self.other).clamp(min=0).sqrt()
        return (distance.square() - self.square) / 2 - self.other

    def of(self, which: Tensor) -> Bounds:
        """Those of some queries."""
        return Bounds(self.error, self.other[which], self.square[which])

    def _off(self, score: Tensor) -> Tensor:
        distance = (2 * (score + self.other) + self.square).clamp(min=0).sqrt()
        return self.error * (distance + self.error / 2) + self.other


@dataclass
class _Queries:
    """Queries that are screened together, and what is known of them so far."""

    start: int  # of the first among all queries
    rows: Tensor  # (n, width): -z | 1 in PARTS | -shift in PARTS | 0, in the precision of the screen
    square: Tensor  # (n,) |z|^2, float64 like all below
    rounded: Tensor  # (n,) what of |z| rounding took
    tail: Tensor  # (n,) what of |z| the basis leaves out
    shift: Tensor  # (n,) taken off the scores, so that low precision resolves those near the least
    least: Tensor  # (n,) at least the true score of the nearest code
    left: Tensor  # (n,) int64, codes that were not ruled out when they were looked at


def nearest_linear_codes(
    queries: Tensor, codes: LinearCodes, screen: Screen, wider: Callable[[], Screen] | None = None
) -> Tensor:
    """Index of the nearest code in Euclidean distance; ties go to the lowest index.

    Memory beyond codes and screen: one chunk of scores and a few numbers a query.

    Args:
        queries: (N, D).
        codes: what is searched.
        screen: of these codes.
        wider: makes a screen with all directions, for queries that one with a few does not serve.

    Returns:
        (N,) int64; 0 for a query that is not finite, and wherever no distance is.
    """
    if len(queries) == 0:
        return torch.zeros(0, dtype=torch.int64, device=queries.device)
    centered = queries.double() - codes.center  # (N, D)
    finite = centered.isfinite().all(dim=1)
    with torch.autocast(queries.device.type, enabled=False), full_float32():
        if not bool(finite.all()):
            centered = torch.where(finite.unsqueeze(1), centered, 0.0)
        which, index, lower, crowded = _screened(centered, screen)
        crowded &= finite
        tokens = _decide(centered, codes, *_sharpened(centered, codes, which, index, lower))
        if bool(crowded.any()):
            if wider is not None and screen.basis is not None:
                tokens[crowded] = nearest_linear_codes(queries[crowded], codes, wider())
            else:
                tokens[crowded] = nearest_of_all(centered[crowded], codes)
    return torch.where(finite, tokens, 0)


def nearest_of_all(centered: Tensor, codes: LinearCodes) -> Tensor:
    """The same answers for queries less the center, (N, D) float64, without a screen: all codes in float64, slow."""
    return _decide(centered, codes, *_unruled(centered, codes))


def _screened(centered: Tensor, screen: Screen) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs of a query and a code that may be its nearest, with a lower bound of its score: (M,) each.

    And (N,) whether a query was given up.
    """
    slabs = [
        _prepare(part, start, screen)
        for start, part in zip(range(0, len(centered), QUERY_CHUNK), centered.split(QUERY_CHUNK), strict=True)
    ]
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    offset = 0
    for chunk in screen.chunks:
        for slab in slabs:
            found.append(_screen_chunk(slab, chunk, screen, offset))
        offset += len(chunk.rows)  # only the last is padded
    least = torch.cat([slab.least for slab in slabs])
    crowded = torch.cat([slab.left > CROWD for slab in slabs]) | ~least.isfinite()
    which, index, lower = (torch.cat(column) for column in zip(*found, strict=True))
    left = (lower <= least[which]) & ~crowded[which]
    return which[left], index[left], lower[left], crowded


def _prepare(centered: Tensor, start: int, screen: Screen) -> _Queries:
    n = len(centered)
    square = centered.square().sum(dim=1)
    within = centered if screen.basis is None else centered @ screen.basis  # (n, d)
    dims = within.shape[1]
    low = within.to(screen.dtype)
    rows = low.new_zeros(n, screen.width)
    rows[:, :dims] = -low
    rows[:, dims : dims + PARTS] = 1
    if screen.basis is None:
        tail = torch.zeros_like(square)
    else:
        tail = torch.linalg.vector_norm(centered - within @ screen.basis.t(), dim=1)
    rounded = torch.linalg.vector_norm(within - low.double(), dim=1)
    return _Queries(
        start,
        rows,
        square,
        rounded,
        tail,
        shift=torch.zeros_like(square),
        least=torch.full_like(square, torch.inf),
        left=torch.zeros(n, dtype=torch.int64, device=square.device),
    )


def _screen_chunk(slab: _Queries, chunk: ScreenChunk, screen: Screen, offset: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of a chunk that may be nearest, as (queries, codes, lower bounds of their scores); updates the slab."""
    if offset == 0:  # a first idea of the least score; shifted by it, scores near it lose nothing to rounding
        shift = parts(_product(slab.rows, chunk.rows[:SAMPLE]).amin(dim=1).double(), screen.dtype)  # (n, PARTS)
        slab.shift = shift.double().sum(dim=1)
        dims = screen.dims
        slab.rows[:, dims + PARTS : dims + 2 * PARTS] = -shift
    scores = _product(slab.rows, chunk.rows)  # (n, k)
    bounds = _bounds(slab, chunk, screen)
    off = HALF_ULP[scores.dtype] * 1.01  # that the score as written is off, of itself
    blocks = scores.view(len(scores), BLOCK, -1).amin(dim=1)  # (n, k / BLOCK), each of codes that far apart
    least = blocks.amin(dim=1).double()
    slab.least = torch.minimum(slab.least, bounds.upper(least + off * least.abs() + slab.shift))
    limit = bounds.limit(slab.least) - slab.shift
    limit = limit + (2 * off + 2.0**-20) * limit.abs()  # (n,), which float32 then cannot round below itself
    limit = torch.where(slab.left > CROWD, -torch.inf, limit).to(torch.float32)
    hits = blocks <= limit.unsqueeze(1)
    query, block = hits.nonzero(as_tuple=True)  # (M,)
    inside = scores.view(len(scores), BLOCK, -1)[query, :, block]  # (M, BLOCK)
    pair, member = (inside <= limit[query].unsqueeze(1)).nonzero(as_tuple=True)
    slab.left += torch.bincount(query[pair], minlength=len(scores))
    serves = slab.left[query[pair]] <= CROWD
    pair, member = pair[serves], member[serves]
    score = inside[pair, member].double()
    query, index = query[pair], offset + member * blocks.shape[1] + block[pair]
    lower = bounds.of(query).lower(score - off * score.abs() + slab.shift[query])
    return slab.start + query, index, lower


def _product(queries: Tensor, rows: Tensor) -> Tensor:
    """Scores (n, k), added up in float32, less the shift."""
    if queries.is_cuda and queries.dtype != torch.float32:
        return torch.mm(queries, rows.t(), out_dtype=torch.float32)
    return torch.mm(queries, rows.t())


def _bounds(slab: _Queries, chunk: ScreenChunk, screen: Screen) -> Bounds:
    size = slab.square.sqrt()
    both = (size + slab.rounded) * chunk.reach + chunk.reach.square() + chunk.tail.square() + slab.shift.abs()
    adding = screen.width * 2 * HALF_ULP[torch.float32] * both
    other = slab.rounded * chunk.reach + slab.tail * chunk.tail + adding + TIE * (slab.square + both) + TINY
    return Bounds(chunk.error, other, slab.square)


def _unruled(centered: Tensor, codes: LinearCodes) -> tuple[Tensor, Tensor]:
    """The same pairs from scores in float64 of all codes: slow, for queries that the screen does not serve."""
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


def _sharpened(
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


def _decide(centered: Tensor, codes: LinearCodes, which: Tensor, index: Tensor) -> Tensor:
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
