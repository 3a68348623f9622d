"""A screen of floating-point numbers: which codes the bounds of its scores cannot rule out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from codec.quantizers.search.decision import CROWD, TIE
from codec.quantizers.search.plain import QUERY_CHUNK
from codec.quantizers.search.product import packed, product
from codec.quantizers.search.screen import BLOCK, HALF_ULP, PARTS, SAMPLE, TINY, Screen, ScreenChunk, parts

COLUMNS = 64  # queries are filled up to multiples of it, which suit the matrix units
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


def screened(centered: Tensor, screen: Screen) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
