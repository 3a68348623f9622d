"""Codes in 8-bit integers, with a second digit, and how far off both are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from codec.quantizers.search.byte_product import DIGIT
from codec.quantizers.search.codes import CHUNK, LinearCodes
from codec.quantizers.search.screen import BLOCK, HALF_ULP, NORM_SLACK, projected

ZERO = 128  # stands for 0 in bytes without a sign
LOW = 254  # parts of a step
WIDER = 4  # chunks of the other screens to one of bytes
PIECE = 2048  # codes rounded at once
EXACT = 1024  # squares of digits that float32 adds up exactly: 127^2 * 1024 < 2^24
SMALL = 2.0**-100  # a step, below which float32 has not all its digits
ULP = 2 * HALF_ULP[torch.float32]
UNEVEN = 2.0  # rows of W stronger than the mean by this are spread over all directions


class IntegerChunk(NamedTuple):
    """Some codes by rising length of ``high``, filled up to a multiple of BLOCK. Lengths are in steps."""

    high: Tensor  # (k, D) uint8, c / step to the nearest integer, plus ZERO
    low: Tensor  # (k, D) int8, what is left of c / step, in LOW parts
    order: Tensor  # (k,) int32, which code of the chunk a row is
    half: Tensor  # (k,) float64, |high + low / LOW|^2 / 2
    above: Tensor  # (k / BLOCK, BLOCK) float32, |high|^2 less the least; infinite where a row is no code
    shortest: Tensor  # () float64 like all below, the least |high|^2
    longest: Tensor  # () the largest |high|^2
    step: Tensor  # ()
    error: Tensor  # () at least |c - high|
    rest: Tensor  # () at least |c - high - low / LOW|
    reach: Tensor  # () at least |c|


@dataclass(frozen=True)
class IntegerScreen:
    """Approximate codes in chunks, in the order of the codes: 2 K D bytes.

    A search holds a byte for each query and code of a chunk besides, and some blocks of them that it looks into.
    """

    rotation: Tensor | None  # (D, D) float64, orthonormal; what codes and queries were turned by
    chunks: list[IntegerChunk]

    @classmethod
    def of(cls, codes: LinearCodes, chunk: int = CHUNK) -> IntegerScreen:
        """Codes computed in float32, then rounded.

        One step serves all directions. Where some rows of W are much stronger than others, all are mixed by a rotation
        first: a few large numbers would make the steps of all too coarse.

        Args:
            codes: what is searched.
            chunk: codes whose scores are held at once, filled up to BLOCK.
        """
        rotation = None
        with torch.no_grad(), torch.autocast(codes.table.device.type, enabled=False):
            if codes.weight is not None:
                strengths = codes.weight.double().square().sum(dim=1)
                if strengths.max() > UNEVEN * strengths.mean():
                    rotation = _mixing(len(strengths)).to(codes.center.device)
            made = [_digits(exact, slack) for exact, slack in projected(codes, WIDER * chunk, rotation)]
        return cls(rotation, made)


@cache
def _mixing(dims: int) -> Tensor:
    """An orthonormal (D, D) float64 that favours no direction; always the same."""
    generator = torch.Generator("cpu").manual_seed(0)
    normal = torch.randn(dims, dims, dtype=torch.float64, generator=generator, device="cpu")
    rotation: Tensor = torch.linalg.qr(normal)[0]
    return rotation


def _digits(exact: Tensor, slack: Tensor) -> IntegerChunk:
    """Codes (k, D) float32, from which the true ones are at most ``slack`` away."""
    count, dims = exact.shape
    step = torch.stack(exact.aminmax()).abs().amax().double() / DIGIT
    step = torch.where(step > 0, step, 1.0)
    rows = [_two_digits(part / step) for part in exact.split(PIECE)]
    high, low, square, half, error, rest = (torch.cat(column) for column in zip(*rows, strict=True))
    square, order = square.sort(stable=True)
    beside = slack / step + 2 * ULP * DIGIT * dims**0.5  # what float32 loses here too
    beside = torch.where(step < SMALL, torch.inf, beside)
    filled = -count % BLOCK
    above = torch.nn.functional.pad(square - square[0], (0, filled), value=torch.inf)
    error = error.max() * NORM_SLACK + beside
    return IntegerChunk(
        torch.cat([high[order], high.new_full((filled, dims), ZERO)]),
        torch.cat([low[order], low.new_zeros(filled, dims)]),
        torch.nn.functional.pad(order.to(torch.int32), (0, filled)),
        torch.nn.functional.pad(half[order], (0, filled)),
        above.float().view(-1, BLOCK),
        square[0].clone(),  # a view would hold all
        square[-1].clone(),
        step,
        error,
        rest.max() * NORM_SLACK + beside,
        square[-1].sqrt() + error,
    )


def _two_digits(scaled: Tensor) -> tuple[Tensor, ...]:
    """(k, D) float32 in steps -> both digits, |high|^2, |high + low / LOW|^2 / 2, and what each leaves of a length."""
    high = scaled.round()
    left = scaled - high
    low = (left * LOW).round_().clamp_(-DIGIT, DIGIT)
    square = torch.stack([torch.linalg.vecdot(part, part).double() for part in high.split(EXACT, dim=1)]).sum(dim=0)
    error = torch.linalg.vector_norm(left, dim=1).double()
    rest = torch.linalg.vector_norm(left.sub_(low, alpha=1 / LOW), dim=1).double()
    both = torch.add(high, low, alpha=1 / LOW, out=left)
    half = torch.linalg.vecdot(both, both).double() / 2
    return high.add_(ZERO).to(torch.uint8), low.to(torch.int8), square, half, error, rest
