"""A cheap view of the codes whose errors are known: what rules out all but a few of them.

Scores are s_k = |c_k|^2 / 2 - z.c_k with z and c_k less the center; the nearest code has the least. A screen holds
approximate codes a_k in bfloat16 where the processor multiplies them fast (else float32) and says how far off they can
be, so that a score made of them bounds the true one from both sides (:class:`codec.quantizers.search.floats.Bounds`).

Where W has few strong directions the screen holds only those (``basis``): what the others can add to z.c_k is at most
the product of what is left of both norms (Cauchy-Schwarz).

Rounding is bounded for the worst case (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), not
for the usual one: what is ruled out cannot be the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from codec.precision import full_float32
from codec.quantizers.search.codes import CHUNK, LinearCodes

SAMPLE = 1024  # codes that give a first idea of the least score
TINY = 1e-30  # matrix units take smaller products for 0
BLOCK = 64  # codes of which only the best score is looked at first; chunks are filled up to it
PARTS = 3  # numbers of low precision that stand for one of float32
COLUMNS = 32  # widths are multiples of it: what matrix units take at once
HALF_ULP = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}
NORM_SLACK = 1 + 2.0**-12  # adding up squares in float32 loses less


class ScreenChunk(NamedTuple):
    """Some codes in a row, K padded to a multiple of BLOCK with codes infinitely far away."""

    rows: Tensor  # (k, width): a_k | |c_k|^2 / 2 in PARTS | 1 in PARTS | 0
    error: Tensor  # () float64, at least |a_k - the part of c_k in the basis|
    reach: Tensor  # () float64, at least |a_k|
    tail: Tensor  # () float64, at least what of |c_k| the basis leaves out


@dataclass(frozen=True)
class Screen:
    """Approximate codes in chunks, in the order of the codes."""

    dtype: torch.dtype
    dims: int  # columns that hold codes
    basis: Tensor | None  # (D, d) float64, orthonormal columns; None: all directions
    chunks: Iterable[ScreenChunk]  # gone through once a search; a list where the screen is kept

    @property
    def width(self) -> int:
        """Columns of the rows."""
        return _width(self.dims)

    @classmethod
    def of(cls, codes: LinearCodes, dtype: torch.dtype, chunk: int = CHUNK, dims: int | None = None) -> Screen:
        """A screen to keep: codes computed in float32, then rounded. K x width numbers of ``dtype``.

        Args:
            codes: what is searched.
            dtype: bfloat16 or float32.
            chunk: codes whose scores are held at once, filled up to BLOCK.
            dims: directions to hold; None: as many as :func:`directions_to_hold` says.
        """
        dims = directions_to_hold(codes) if dims is None else dims
        if codes.weight is None or dims >= len(codes.center):
            return cls(dtype, len(codes.center), None, list(_rounded(codes, dtype, chunk, len(codes.center), None)))
        rotation = torch.linalg.eigh(_covariance(codes.weight))[1].flip(1).to(codes.center.device)
        basis = rotation[:, :dims].contiguous()
        return cls(dtype, dims, basis, list(_rounded(codes, dtype, chunk, dims, rotation)))

    @classmethod
    def passing(cls, codes: LinearCodes, dtype: torch.dtype, sizes: TableSizes, chunk: int = CHUNK) -> Screen:
        """A screen that is made chunk by chunk while it is searched, once, and never kept: for weights that change.

        Args:
            codes: what is searched.
            dtype: bfloat16 or float32.
            sizes: of the codes' table.
            chunk: codes whose scores are held at once, filled up to BLOCK.
        """
        dims = len(codes.center)
        if codes.weight is None or dtype == torch.float32:
            return cls(dtype, dims, None, _rounded(codes, dtype, chunk, dims, None))
        return cls(dtype, dims, None, _projected_low(codes, codes.weight, dtype, chunk, sizes))

    def joined(self) -> Screen:
        """The same in one chunk, whose bounds are the loosest of all: for searches that take all codes at once."""
        chunks = list(self.chunks)
        rows = torch.cat([chunk.rows for chunk in chunks])
        loosest = [torch.stack(bound).max() for bound in list(zip(*chunks, strict=True))[1:]]
        return Screen(self.dtype, self.dims, self.basis, [ScreenChunk(rows, *loosest)])


class TableSizes(NamedTuple):
    """Of a table C: the longest row, and the longest of what rounding its rows takes away. () float64."""

    longest: Tensor
    rounding: Tensor

    @classmethod
    def of(cls, table: Tensor, dtype: torch.dtype) -> TableSizes:
        """Measured."""
        longest, rounding = [], []
        for rows in table.float().split(CHUNK):
            longest.append(_longest(rows))
            rounding.append(_longest(rows - rows.to(dtype).float()))
        return cls(torch.stack(longest).max(), torch.stack(rounding).max())


@cache
def screen_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where matrix units multiply it faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    able = torch.cpu.get_capabilities() if device.type == "cpu" and torch.backends.mkldnn.is_available() else {}
    return torch.bfloat16 if able.get("amx_bf16") or able.get("avx512_bf16") else torch.float32


def directions_to_hold(codes: LinearCodes) -> int:
    """How many of the codes' directions a screen is to hold: D, or the few strong ones of W where that saves half."""
    if codes.weight is None:
        return len(codes.center)
    return strong_directions(torch.linalg.eigvalsh(_covariance(codes.weight)).flip(0))


def _covariance(weight: Tensor) -> Tensor:
    return (weight.double() @ weight.double().t()).cpu()


def strong_directions(strengths: Tensor) -> int:
    """How many directions are worth holding.

    Args:
        strengths: (D,) variances of the codes along orthogonal directions, descending.

    Returns:
        The least number, filling the columns, that leaves out TAIL of the variance; D where that saves less than half.
    """
    left = 1 - strengths.clamp(min=0).cumsum(0) / strengths.clamp(min=0).sum()
    enough = int((left > TAIL).sum()) + 1
    filled = _width(enough) - 2 * PARTS
    return filled if 2 * filled <= len(strengths) else len(strengths)


TAIL = 0.01


def parts(values: Tensor, dtype: torch.dtype) -> Tensor:
    """(n,) float64 -> (n, PARTS) of ``dtype`` whose sum is the value, to the precision of float32."""
    columns = []
    for _ in range(PARTS):
        columns.append(values.to(dtype))
        values = values - columns[-1].double()
    return torch.stack(columns, dim=1)


def _filled(chunk: int) -> int:
    return -(-chunk // BLOCK) * BLOCK


def _width(dims: int) -> int:
    return -(-(dims + 2 * PARTS) // COLUMNS) * COLUMNS


def projected(codes: LinearCodes, chunk: int, rotation: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Codes less the center, turned by ``rotation``, in float32: (k, D), and how far off one can be, () float64."""
    center, weight, size = codes.center.float(), None, codes.center.new_zeros(())
    if codes.weight is not None:
        turned = codes.weight.double() if rotation is None else rotation.t() @ codes.weight.double()
        weight, size = turned.float(), torch.linalg.matrix_norm(turned)
    for rows in codes.table.split(_filled(chunk)):
        rows = rows.float()
        if weight is None:
            exact = rows - center  # (k, D)
            yield exact, HALF_ULP[torch.float32] * (2 * _longest(exact) + 2 * torch.linalg.vector_norm(codes.center))
        else:
            with torch.autocast(rows.device.type, enabled=False), full_float32():
                exact = rows @ weight.t()  # (k, D)
            slack = (rows.shape[1] + 2) * HALF_ULP[torch.float32] * size * _longest(rows)
            yield exact, slack + rows.shape[1] ** 1.5 * torch.finfo(torch.float32).tiny


def _rounded(
    codes: LinearCodes, dtype: torch.dtype, chunk: int, dims: int, rotation: Tensor | None
) -> Iterator[ScreenChunk]:
    """Codes computed in float32, turned, cut and rounded."""
    for exact, slack in projected(codes, chunk, rotation):
        made = _blank(len(exact), dims, exact.new_empty(0, dtype=dtype))
        low = made[: len(exact), :dims].copy_(exact[:, :dims])
        error = slack if dtype == exact.dtype else _longest(exact[:, :dims] - low.float()) + slack
        rest = torch.linalg.vector_norm(exact[:, dims:], dim=1).double()  # (k,)
        yield _chunk(made, low, rest, error, slack)


def _projected_low(
    codes: LinearCodes, weight: Tensor, dtype: torch.dtype, size: int, sizes: TableSizes
) -> Iterator[ScreenChunk]:
    """Codes computed in low precision: W and C are rounded, and so is their product.

    |W C - a| <= |W| |C - C'| + |W - W'| |C'| + what adding up in float32 loses + what rounding the result loses, with
    ' for rounded and spectral norms of the matrices.
    """
    dims = codes.table.shape[1]
    low_weight = weight.to(dtype)
    lost = weight.double() - low_weight.double()
    rounded = sizes.longest + sizes.rounding
    before = spectral_bound(weight) * sizes.rounding + spectral_bound(lost) * rounded
    adding = dims * 2 * HALF_ULP[torch.float32] * torch.linalg.matrix_norm(low_weight.double()) * rounded
    for rows in codes.table.split(_filled(size)):
        with torch.autocast(rows.device.type, enabled=False):
            made = _blank(len(rows), dims, low_weight)
            low = torch.mm(rows.to(dtype), low_weight.t(), out=made[: len(rows), :dims])  # (k, D)
        chunk = _chunk(made, low, None, before + adding, before)
        yield chunk._replace(error=chunk.error + HALF_ULP[dtype] * (1 + HALF_ULP[dtype]) * chunk.reach)


def _blank(codes: int, dims: int, like: Tensor) -> Tensor:
    """Rows (codes filled up to BLOCK, width) for a chunk, codes and their norms yet to be written."""
    rows = like.new_empty(_filled(codes), _width(dims))
    rows[:, dims + PARTS :] = 0
    rows[:codes, dims + PARTS : dims + 2 * PARTS] = 1
    rows[codes:, : dims + PARTS] = 0
    rows[codes:, dims] = torch.inf
    return rows


def _chunk(rows: Tensor, low: Tensor, rest: Tensor | None, error: Tensor, slack: Tensor) -> ScreenChunk:
    """What is known of rows whose codes ``low`` (k, d) are written; their norms are written here."""
    k, dims = low.shape
    norms = torch.linalg.vector_norm(low.float(), dim=1).double()  # (k,)
    half = norms.square() / 2
    if rest is not None:
        half = half + rest.square() / 2
    rows[:k, dims : dims + PARTS] = parts(half, rows.dtype)
    tail = norms.new_zeros(()) if rest is None else rest.max() + slack
    return ScreenChunk(rows, error, norms.max() * NORM_SLACK, tail)


def _longest(rows: Tensor) -> Tensor:
    """(n, D) -> () float64, at least the largest norm of a row."""
    longest = torch.linalg.vector_norm(rows, dim=1).max().double()
    if not 1e-12 < longest < 1e18 and bool(rows.any()):  # squares that float32 does not hold
        longest = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).max()
    return longest * NORM_SLACK


def spectral_bound(matrix: Tensor) -> Tensor:
    """At least the largest singular value of (D, E), and at most D^(1/32) times it, 1.22 for 512: () float64.

    |A|^16 = |(A^T A)^8| <= the Frobenius norm of (A^T A)^8: three squarings instead of an eigenvalue problem.
    """
    size = torch.linalg.matrix_norm(matrix.double())
    unit = (matrix / torch.where(size > 0, size, 1.0)).float()  # then the powers neither overflow nor vanish
    with full_float32():
        power = unit.t() @ unit
        for _ in range(3):
            power = power @ power
    return size * torch.linalg.matrix_norm(power.double()) ** (1 / 16) * (1 + 2.0**-6)
