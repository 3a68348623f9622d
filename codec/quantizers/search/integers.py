"""Codes and queries in 8-bit integers: a screen at twice to four times the rate of the other formats.

Matrix units and the vector instructions of processors without them (VNNI) multiply 8-bit integers faster than anything
else, and add up without an error. A code is ``step * high`` with 127 steps to the largest number of its chunk; a query
likewise. For the distance of the two approximations, which the integers give exactly,

    | |z - c| - |z' - c'| | <= |z - z'| + |c - c'|

(the triangle inequality), and the right-hand side is measured when they are made. That is eight times as coarse as
bfloat16. What it leaves is therefore measured from the second digit of the codes as well (``low``, 254 to the step),
which is as fine as bfloat16 and gives a limit for the codes that follow.

The product writes one byte a score: how far it reaches above what a nearest code must have, in units that a query's
bounds choose, cut off at -128 and 127 (of bytes with a sign torch finds the largest sooner than of those without).
Norms are no part of it. Each chunk's codes are in the order of their norms instead, so that the 64 of a block have
nearly the same, and one limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from codec.quantizers.search.byte_product import DIGIT, packed, product
from codec.quantizers.search.decision import CROWD, TIE
from codec.quantizers.search.floats import Bounds
from codec.quantizers.search.integer_screen import LOW, ULP, ZERO, IntegerChunk, IntegerScreen
from codec.quantizers.search.plain import QUERY_CHUNK
from codec.quantizers.search.screen import BLOCK, NORM_SLACK, SAMPLE, TINY

FINE = 32  # units of a byte to what the bounds leave, at most
SPAN = 240.0  # units that the norms of a chunk may take of the 255
MOST = 127  # the largest byte
REACHED = -MOST  # the byte of the least score that a nearest code of the least norm can have: the lowest but one
FEW = 2**15  # codes, before which the limit may be far from what it will be
COLUMNS = 16  # queries are filled up to multiples of it, which suit the matrix units
GATHERED = 2**14  # blocks looked into at once
MEASURED = 512  # pairs of a query and a code measured at once in float32
LOOKED = 2048  # codes measured for one query, from which on the screen is given up for it


@dataclass
class _Queries:
    """Queries that are screened together, and what is known of them so far."""

    start: int  # of the first among all queries
    unit: Tensor  # (n, D) float32, z / ``largest``
    largest: Tensor  # (n,) the largest number of z, float64 like all below; 1 for z = 0
    packed: Tensor  # z' / ``step``, (n or more, D) int8, as the product wants it
    step: Tensor  # (n,)
    digits: Tensor  # (n,) sum of the integers
    sizes: Tensor  # (n,) sum of their magnitudes
    approximate: Tensor  # (n,) |z'|^2
    square: Tensor  # (n,) |z|^2
    rounded: Tensor  # (n,) at least |z - z'|
    least: Tensor  # (n,) at least the true score of the nearest code
    looked: Tensor  # (n,) int64, codes that were measured
    left: Tensor  # (n,) int64, codes that were not ruled out when they were measured

    @property
    def given_up(self) -> Tensor:
        """(n,) queries that the screen does not serve."""
        return (self.left > CROWD) | (self.looked > LOOKED)


def screened(centered: Tensor, screen: IntegerScreen) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the screen leaves: as :func:`codec.quantizers.search.floats.screened`."""
    turned = centered if screen.rotation is None else centered @ screen.rotation
    slabs = [
        _prepare(part, start)
        for start, part in zip(range(0, len(turned), QUERY_CHUNK), turned.split(QUERY_CHUNK), strict=True)
    ]
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    offset = 0
    for chunk in screen.chunks:
        for slab in slabs:
            found.append(_screen_chunk(slab, chunk, offset))
        offset += len(chunk.high)  # only the last is filled up
    least = torch.cat([slab.least for slab in slabs])
    crowded = torch.cat([slab.given_up for slab in slabs]) | ~least.isfinite()
    which, index, lower = (torch.cat(column) for column in zip(*found, strict=True))
    left = (lower <= least[which]) & ~crowded[which]
    return which[left], index[left], lower[left], crowded


def _prepare(centered: Tensor, start: int) -> _Queries:
    n, dims = centered.shape
    largest = centered.abs().amax(dim=1)
    largest = torch.where(largest > 0, largest, 1.0)
    step = largest / DIGIT
    digits = (centered / step.unsqueeze(1)).round()  # (n, D)
    rows = torch.zeros(-(-n // COLUMNS) * COLUMNS, dims, dtype=torch.int8, device=centered.device)
    rows[:n] = digits.to(torch.int8)
    return _Queries(
        start,
        unit=(centered / largest.unsqueeze(1)).float(),
        largest=largest,
        packed=packed(rows),
        step=step,
        digits=digits.sum(dim=1),
        sizes=digits.abs().sum(dim=1),
        approximate=step.square() * digits.square().sum(dim=1),
        square=centered.square().sum(dim=1),
        rounded=torch.linalg.vector_norm(centered - digits * step.unsqueeze(1), dim=1) * NORM_SLACK,
        least=torch.full_like(step, torch.inf),
        looked=torch.zeros(n, dtype=torch.int64, device=centered.device),
        left=torch.zeros(n, dtype=torch.int64, device=centered.device),
    )


class _Aim(NamedTuple):
    """What the bytes of a chunk's product mean. (n,) each."""

    scale: Tensor  # of the integers' product
    shift: Tensor  # added to it
    least: Tensor  # float32, the byte that a nearest code of the least norm reaches
    rise: Tensor  # float32, what it reaches more for each |high|^2 more
    floor: Tensor  # as of :func:`_floor`
    unit: Tensor  # of a byte
    void: Tensor  # queries that it serves no more

    def needed(self, query: Tensor | slice, above: Tensor) -> Tensor:
        """The byte that codes of given |high|^2 must reach, (M, ...): at most what saturates."""
        return torch.addcmul(self.least[query], above, self.rise[query]).clamp_(max=MOST - 0.5)


def _screen_chunk(slab: _Queries, chunk: IntegerChunk, offset: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of a chunk that may be nearest, as (queries, codes, lower bounds of their scores); updates the slab."""
    if offset == 0:
        _first_idea(slab, chunk)
    aim = _aim(slab, chunk)
    reached = product(chunk.high, slab.packed, aim.scale, aim.shift, torch.int8)  # (k, n or more)
    blocks = reached.view(-1, BLOCK, reached.shape[1])
    largest = blocks.amax(dim=1)[:, : len(slab.step)].float()  # (k / BLOCK, n)
    if offset < FEW:
        aim = _nearer(slab, chunk, blocks, largest, aim)
    near = (largest >= aim.needed(slice(None), chunk.above[:, :1])) & ~aim.void
    block, query = near.nonzero(as_tuple=True)  # (M,)
    found = []
    for start in range(0, max(len(block), 1), GATHERED):
        b, q = block[start : start + GATHERED], query[start : start + GATHERED]
        if start:
            serves = ~slab.given_up[q]
            b, q = b[serves], q[serves]
        above = chunk.above[b]  # (m, BLOCK)
        enough = (blocks[b, :, q] >= aim.needed(q.unsqueeze(1), above)) & above.isfinite()
        pair, member = enough.nonzero(as_tuple=True)
        found.append(_measure(slab, chunk, q[pair], b[pair] * BLOCK + member, offset))
    query, index, lower = (torch.cat(column) for column in zip(*found, strict=True))
    return query, index, lower


def _aim(slab: _Queries, chunk: IntegerChunk) -> _Aim:
    """A byte of ``REACHED`` or more, and the more the longer a code, for all that can be nearest."""
    floor, margin = _floor(slab, chunk)
    squared = chunk.step.square()
    unit = torch.maximum(squared * (chunk.longest - chunk.shortest) / (2 * SPAN), margin / FINE)
    scale = slab.step * chunk.step / unit
    shift = REACHED - (floor + squared * chunk.shortest / 2) / unit - ZERO * scale * slab.digits
    slack = 8 * ULP * (255 * scale * slab.sizes + shift.abs()) + 2.0**-10  # of the product's float32
    void = slab.given_up | ~((scale < 2.0**100) & (slack < 2.0**40))  # too large for float32, or no numbers
    slab.looked = torch.where(void, LOOKED + 1, slab.looked)
    scale, shift = torch.where(void, 0.0, scale), torch.where(void, 0.0, shift)
    rise = torch.where(void, 0.0, squared / (2 * unit))
    return _Aim(scale, shift, (REACHED - 0.5 - slack).float(), rise.float(), floor, unit, void)


def _nearer(slab: _Queries, chunk: IntegerChunk, blocks: Tensor, largest: Tensor, aim: _Aim) -> _Aim:
    """Measures the code of each query that reaches furthest: the limit that this gives spares most of the others."""
    block = (largest - chunk.above[:, :1] * aim.rise).argmax(dim=0)  # (n,)
    query = torch.arange(len(block), device=block.device)
    over = blocks[block, :, query] - aim.needed(query.unsqueeze(1), chunk.above[block])  # (n, BLOCK)
    most, member = torch.where(chunk.above[block].isfinite(), over, -torch.inf).max(dim=1)
    some = ((most >= 0) & ~aim.void).nonzero().flatten()
    bounds, score = _scores(slab, chunk, some, block[some] * BLOCK + member[some])
    slab.least.scatter_reduce_(0, some, bounds.upper(score), "amin")
    higher = (_floor(slab, chunk)[0] - aim.floor) / aim.unit
    return aim._replace(least=aim.least + torch.where(aim.void, 0.0, higher.clamp(min=0)).float())


def _floor(slab: _Queries, chunk: IntegerChunk) -> tuple[Tensor, Tensor]:
    """(n,) the least z'.c' - |c'|^2 / 2 that a nearest code can have, and how far below the best one's that is.

    Two things follow from a true score of ``least`` or less: the scores of z' and c' are near it, for one where queries
    are much longer than codes; and so is the distance of z' and c', where they are near to each other.
    """
    error, reach = chunk.step * chunk.error, chunk.step * chunk.reach
    size = slab.square.sqrt()
    tie = TIE * (slab.square + size * reach + reach.square())
    limit = Bounds(error, slab.rounded * reach + tie, slab.square).limit(slab.least)
    distance = (2 * (slab.least + 2 * tie) + slab.square).clamp(min=0).sqrt() + slab.rounded + error
    limit = torch.minimum(limit, (distance.square() - slab.approximate) / 2 + tie)
    return -limit, (limit - slab.least).abs().clamp(min=0) + tie + TINY * chunk.step.square()


def _first_idea(slab: _Queries, chunk: IntegerChunk) -> None:
    """Measures the code that looks nearest among the first of a chunk."""
    rows, above = chunk.high[:SAMPLE], chunk.above.view(-1, 1)[:SAMPLE]
    ratio = slab.step / chunk.step
    ratio = torch.where(ratio.isfinite(), ratio, 0.0)
    score = product(rows, slab.packed, ratio, -ZERO * ratio * slab.digits, torch.float32)[:, : len(ratio)]
    row = torch.where(above.isfinite(), score - above / 2, -torch.inf).argmax(dim=0)  # (n,)
    query = torch.arange(len(row), device=row.device)
    bounds, score = _scores(slab, chunk, query, row)
    slab.least = bounds.upper(score)


def _measure(
    slab: _Queries, chunk: IntegerChunk, query: Tensor, row: Tensor, offset: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of pairs of a query and a code (M,) those that may be nearest, by both digits; updates the slab."""
    slab.looked += torch.bincount(query, minlength=len(slab.looked))
    serves = slab.looked[query] <= LOOKED
    query, row = query[serves], row[serves]
    bounds, score = _scores(slab, chunk, query, row)
    slab.least.scatter_reduce_(0, query, bounds.upper(score), "amin")
    lower = bounds.lower(score)
    near = lower <= slab.least[query]
    query, row, lower = query[near], row[near], lower[near]
    slab.left += torch.bincount(query, minlength=len(slab.left))
    serves = slab.left[query] <= CROWD
    query, row, lower = query[serves], row[serves], lower[serves]
    return slab.start + query, offset + chunk.order[row].long(), lower


def _scores(slab: _Queries, chunk: IntegerChunk, query: Tensor, row: Tensor) -> tuple[Bounds, Tensor]:
    """Scores of pairs by both digits, (M,) float64, and their bounds."""
    dims = slab.unit.shape[1]
    inner = torch.empty(len(query), dtype=torch.float64, device=query.device)
    for start in range(0, len(query), MEASURED):
        part = slice(start, start + MEASURED)
        high = chunk.high.index_select(0, row[part]).sub_(ZERO).view(torch.int8)  # (m, D), wrapped to its sign
        code = high.float().add_(chunk.low.index_select(0, row[part]), alpha=1 / LOW)
        inner[part] = code.mul_(slab.unit.index_select(0, query[part])).sum(dim=1).double()
    score = chunk.half[row] - inner * (slab.largest / chunk.step)[query]
    reach, square = chunk.step * chunk.reach, slab.square[query]
    both = square.sqrt() * reach + reach.square()
    other = (dims + 16) * ULP * both + TIE * (square + both) + TINY * chunk.step.square()
    return Bounds(chunk.step * chunk.rest, other, square), score * chunk.step.square()
