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

from codec.precision import full_float32
from codec.quantizers.search.codes import CHUNK, LinearCodes
from codec.quantizers.search.plain import QUERY_CHUNK
from codec.quantizers.search.product import packed, product
from codec.quantizers.search.screen import BLOCK, HALF_ULP, PARTS, Screen, ScreenChunk, parts

TIE = 2.0**-40
COLUMNS = 64  # queries are filled up to multiples of it, which suit the matrix units
CROWD = 256  # codes left to a query, from which on the screen is given up for it
PAIRS = 4096  # queries and codes compared at once in float64
UNRULED = 256  # queries whose scores against CHUNK codes are held at once in float64
SAMPLE = 1024  # codes that give a first idea of the least score
TINY = 1e-30  # matrix units take smaller products for 0
HUGE = 1e36  # nothing larger is left to float32
BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


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
    rows: Tensor  # (n or more, width): z | -1 in PARTS | shift in PARTS | 0, in the precision of the screen
    packed: Tensor  # the same as the product wants it
    square: Tensor  # (n,) |z|^2, float64 like all below
    rounded: Tensor  # (n,) what of |z| rounding took
    tail: Tensor  # (n,) what of |z| the basis leaves out
    shift: Tensor  # (n,) of which scores are taken, so that low precision resolves those near the least
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
    rows = low.new_zeros(n if n < COLUMNS else -(-n // COLUMNS) * COLUMNS, screen.width)
    rows[:n, :dims] = low
    rows[:n, dims : dims + PARTS] = -1
    if screen.basis is None:
        tail = torch.zeros_like(square)
    else:
        tail = torch.linalg.vector_norm(centered - within @ screen.basis.t(), dim=1)
    rounded = torch.linalg.vector_norm(within - low.double(), dim=1)
    return _Queries(
        start,
        rows,
        packed(rows),
        square,
        rounded,
        tail,
        shift=torch.zeros_like(square),
        least=torch.full_like(square, torch.inf),
        left=torch.zeros(n, dtype=torch.int64, device=square.device),
    )


def _screen_chunk(slab: _Queries, chunk: ScreenChunk, screen: Screen, offset: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of a chunk that may be nearest, as (queries, codes, lower bounds of their scores); updates the slab.

    The product gives shift - score. What is looked for is positive there, and positive floating-point numbers are in
    the order of their bits read as integers, whose largest of a block is found in a fraction of the time.
    """
    n = len(slab.square)
    if offset == 0:  # a first idea of the least score
        first = product(chunk.rows[:SAMPLE], slab.packed)
        score = -first[:, :n].amax(dim=0).double()
        slab.least = _bounds(slab, chunk, screen).upper(score + _written(first) * score.abs())
    bounds, floor = _aim(slab, chunk, screen)
    scores = product(chunk.rows, slab.packed)  # (k, n or more)
    bits = scores.view(BITS[scores.dtype]).view(-1, BLOCK, scores.shape[1])
    least = _truncated(floor * (1 - 2 * _written(scores)), scores.dtype)  # (n,)
    least = torch.where(slab.left > CROWD, torch.iinfo(least.dtype).max, least)
    block, query = (bits.amax(dim=1)[:, :n] >= least).nonzero(as_tuple=True)  # (M,)
    inside = bits[block, :, query]  # (M, BLOCK)
    pair, member = (inside >= least[query].unsqueeze(1)).nonzero(as_tuple=True)
    found = inside[pair, member].view(scores.dtype).double()
    query, index = query[pair], offset + block[pair] * BLOCK + member
    score, off, of_query = slab.shift[query] - found, _written(scores) * found.abs(), bounds.of(query)
    slab.least.scatter_reduce_(0, query, of_query.upper(score + off), "amin")
    lower = of_query.lower(score - off)
    near = lower <= slab.least[query]
    query, index, lower = query[near], index[near], lower[near]
    slab.left += torch.bincount(query, minlength=n)
    serves = slab.left[query] <= CROWD
    return slab.start + query[serves], index[serves], lower[serves]


def _aim(slab: _Queries, chunk: ScreenChunk, screen: Screen) -> tuple[Bounds, Tensor]:
    """Bounds of a chunk's scores, and (n,) the least of shift - score that a nearest code can have: above 0.

    Where it is not, the shift moves; queries for which none is found are given up.
    """
    for room in (1, 8, 64, None):
        bounds = _bounds(slab, chunk, screen)
        limit = bounds.limit(slab.least)
        floor = slab.shift - limit
        low = ~(floor >= TINY) & (slab.left <= CROWD)
        if room is None or not bool(low.any()):
            break
        above = room * ((limit - slab.least).clamp(min=0) + 2.0**-20 * limit.abs() + 2 * TINY)
        shift = parts(torch.where(slab.left > CROWD, 0.0, limit + above), screen.dtype)  # (n, PARTS)
        slab.shift = shift.double().sum(dim=1)
        slab.rows[: len(shift), screen.dims + PARTS : screen.dims + 2 * PARTS] = shift
        slab.packed = packed(slab.rows)
    slab.left = torch.where(low, CROWD + 1, slab.left)
    return bounds, floor


def _written(scores: Tensor) -> float:
    """How far the score as written is off, of itself; a little more."""
    return HALF_ULP[scores.dtype] * 1.01


def _truncated(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The bits of positive numbers in ``dtype``, rounded down."""
    bits = (values * (1 - 2.0**-20)).to(torch.float32).view(torch.int32)
    return bits if dtype == torch.float32 else (bits >> 16).to(torch.int16)


def _bounds(slab: _Queries, chunk: ScreenChunk, screen: Screen) -> Bounds:
    size = slab.square.sqrt()
    both = (size + slab.rounded) * chunk.reach + chunk.reach.square() + chunk.tail.square() + slab.shift.abs()
    slab.left = torch.where(both < HUGE, slab.left, CROWD + 1)
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
