# mypy: disable-error-code="import-untyped, import-not-found"
"""The nearest code on a GPU: scores that never leave the registers, then float64 among the few that are left.

Three kernels (:mod:`codec.quantizers.search.kernels`), and one question of the host at the end:

1. ``group_minima`` multiplies queries and codes of the screen in bfloat16 on the matrix units, added up in float32, and
   keeps of every GROUP codes in a row only the least score: HELD numbers at most, so that many queries go in several
   runs.
2. ``list_candidates`` opens the groups that the bounds leave, and lists their codes that the bounds leave.
3. ``decide`` measures the listed codes in float64, as :mod:`codec.quantizers.search.decision` does, with its rule
   for ties.

Queries with more than SLOTS codes left are counted, and searched in float64 among all codes.

**Why the answer is exact.** With z the query and a, c the approximate and true code, all less the center,
s = |a|^2 / 2 - z.a and s_true = |c|^2 / 2 - z.c, so s_true - s = (c - a).((c + a) / 2 - z): at most e |z - a| + e^2 / 2
with e >= |c - a| (:class:`codec.quantizers.search.floats.Bounds`). To that comes what is lost of s itself:

- rounding of the query to z': |z - z'| |a|, and |z_rest| |c_rest| where the screen has a basis (Cauchy-Schwarz);
- products of bfloat16 numbers are exact in float32. Matrix units add b of them and the sum so far at once: terms are
  aligned to the largest, and cut off where RN would round, at 24 bits or more (measured, not promised by the vendor:
  Fasi, Higham, Mikaitis, Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ CS 7:e330, 2021; b is 4 or more).
  Each of the b + 1 terms and the result then loses at most 2^-23 of the largest magnitude, which is at most
  M = |z'| |a|: (D / b) (b + 2) 2^-23 M <= 1.5 D 2^-23 M in all. ``list_candidates`` adds in another order with ordinary
  float32, D 2^-24 M at most;
- |a|^2 / 2 was added up in float32, which costs (D + 2) 2^-24 of it, is held in float32, and is added to the product.

All of the last two together is less than 2 W 2^-23 (|z'| |a| + |a|^2), W >= D + 6 the width of the screen. Where one of
these numbers would not fit into float32, the query is left to the exact path.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from subprocess import SubprocessError
from typing import NamedTuple

import torch
from torch import Tensor

from codec.quantizers.search.codes import LinearCodes
from codec.quantizers.search.decision import TIE, nearest_of_all
from codec.quantizers.search.floats import Bounds
from codec.quantizers.search.screen import HALF_ULP, PARTS, TINY, Screen, ScreenChunk

logger = logging.getLogger(__name__)

GROUP = 64  # codes of which only the least score is kept; divides what screens are padded to
SLOTS = 32  # codes listed for a query; one with more is searched in float64
HELD = 2**25  # group minima at once, 134 MB
LARGEST = 2.0**120  # of a score, with room to 2^128


class Tiles(NamedTuple):
    """How ``group_minima`` cuts its work."""

    queries: int
    codes: int
    columns: int
    warps: int
    stages: int  # loads that run ahead

    @property
    def shared_bytes(self) -> int:
        """Of shared memory at most, bfloat16, with the little that the reduction and barriers take."""
        return self.stages * (self.queries + self.codes) * self.columns * 2 + 4096


TILES = (Tiles(128, 256, 64, 8, 3), Tiles(128, 128, 64, 8, 3), Tiles(128, 128, 32, 8, 3))  # the first that fits
FEW = Tiles(16, 128, 64, 4, 4)  # for so few queries reading the codes takes longer than multiplying them


@cache
def unavailable(device: torch.device) -> str | None:
    """Why the fused search cannot run on a device; None where it can. Said once in the log."""
    reason = _missing(device)
    if reason:
        logger.debug("%s searches plainly in float32: %s", device, reason)
    return reason


def _missing(device: torch.device) -> str | None:
    if find_spec("triton") is None:
        return "Triton is not installed"
    if device.type != "cuda":
        return None if _interpreted() else f"Triton's kernels do not run on {device.type}"
    if torch.version.hip is not None:
        return "its bounds are known for NVIDIA's matrix units only"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "this GPU has no matrix units for bfloat16"
    from triton.compiler import CompilationError
    from triton.runtime.errors import TritonError

    codes = LinearCodes(torch.eye(GROUP, 16, device=device))
    try:  # it builds a launcher with the system's C compiler, which may be missing, or the headers of Python
        for count in (1, FEW.queries + 1):  # as for few queries, and as for many
            nearest_fused(codes.table[:count], codes, Screen.of(codes, torch.bfloat16))
    # An assertion is Triton's way of saying that it does not find the driver's library.
    except (RuntimeError, OSError, AssertionError, SubprocessError, CompilationError, TritonError) as error:
        logger.warning("codes are searched plainly on %s: Triton cannot build the fused search (%s)", device, error)
        return "Triton cannot build its kernels"
    return None


def _interpreted() -> bool:
    import triton

    return bool(triton.knobs.runtime.interpret)


def nearest_fused(
    queries: Tensor, codes: LinearCodes, screen: Screen, wider: Callable[[], Screen] | None = None
) -> Tensor:
    """Index of the nearest code in Euclidean distance, in exact arithmetic; ties go to the lowest index.

    The answers of :func:`codec.quantizers.search.exact.nearest_linear_codes`. Memory beyond codes and screen: HELD
    numbers of float32, SLOTS + 1 of int32 and some D of float64 a query.

    Args:
        queries: (N, D).
        codes: what is searched.
        screen: of these codes, bfloat16; fastest with one chunk.
        wider: makes a screen with all directions, for queries that one with a few does not serve.

    Returns:
        (N,) int64; 0 for a query that is not finite, and wherever no distance is.
    """
    if len(queries) == 0:
        return torch.zeros(0, dtype=torch.int64, device=queries.device)
    assert len(codes) < 2**31
    # Triton launches on the current device, whichever its arguments are on.
    there = torch.cuda.device(queries.device) if queries.is_cuda else nullcontext()
    with there, torch.autocast(queries.device.type, enabled=False):
        # Kernels read rows of numbers side by side; those of one recording's latents, time last, lie across memory.
        centered = queries.contiguous().double() - codes.center  # (N, D)
        finite = centered.isfinite().all(dim=1)
        centered = torch.where(finite.unsqueeze(1), centered, 0.0)
        held = max(1, HELD * GROUP // len(codes))
        parts = [_nearest(part, codes, screen) for part in centered.split(held)]
        tokens, crowded = (torch.cat(column) for column in zip(*parts, strict=True))
        crowded &= finite
        if bool(crowded.any()):  # here, and only here, the host waits
            if wider is not None and screen.basis is not None:
                tokens[crowded] = nearest_fused(queries[crowded], codes, wider())
            else:
                logger.debug("%d of %d latents searched in float64 among all codes", int(crowded.sum()), len(crowded))
                tokens[crowded] = nearest_of_all(centered[crowded], codes)
    return torch.where(finite, tokens, 0)


@dataclass
class _Queries:
    """Queries that are searched together, and what is known of them so far."""

    rows: Tensor  # (n, d) -z in the screen's precision
    square: Tensor  # (n,) |z|^2, float64 like all below
    rounded: Tensor  # (n,) what of |z| rounding took
    tail: Tensor  # (n,) what of |z| the basis leaves out
    least: Tensor  # (n,) at least the true score of the nearest code


def _prepare(centered: Tensor, within: Tensor, rows: Tensor, screen: Screen) -> _Queries:
    square = centered.square().sum(dim=1)
    tail = torch.zeros_like(square)
    if screen.basis is not None:
        tail = torch.linalg.vector_norm(centered - within @ screen.basis.t(), dim=1)
    rounded = torch.linalg.vector_norm(within + rows.double(), dim=1)
    return _Queries(rows, square, rounded, tail, least=torch.full_like(square, torch.inf))


def _nearest(centered: Tensor, codes: LinearCodes, screen: Screen) -> tuple[Tensor, Tensor]:
    """Tokens (n,), and whether a query has too many codes left."""
    from codec.quantizers.search import kernels

    n, D = centered.shape
    within = centered if screen.basis is None else centered @ screen.basis  # (n, d)
    rows = -within.to(screen.dtype)
    slab: _Queries | None = None
    found = torch.empty(n, SLOTS, dtype=torch.int32, device=centered.device)
    count = torch.zeros(n, dtype=torch.int32, device=centered.device)
    crowded = torch.zeros(n, dtype=torch.bool, device=centered.device)
    offset = 0
    for chunk in screen.chunks:
        minima = _group_minima(rows, chunk, screen)
        if slab is None:  # while the device multiplies, the host queues the small rest
            slab = _prepare(centered, within, rows, screen)
        crowded |= _list(slab, chunk, screen, minima, offset, found, count)
        offset += len(chunk.rows)  # only the last is padded
    assert slab is not None, "a screen has a chunk"
    crowded |= (count > SLOTS) | ~slab.least.isfinite()
    tokens = torch.empty(n, dtype=torch.int64, device=centered.device)
    table, weight = codes.table.contiguous(), codes.weight
    kernels.decide[(n,)](
        centered,
        slab.square,
        table,
        table if weight is None else weight.contiguous(),
        codes.center,
        found,
        count,
        tokens,
        table.stride(0),
        TIE,
        D=D,
        WEIGHTED=weight is not None,
        SLOTS=SLOTS,
        BLOCK_D=_power_of_two(D),
        BLOCK_OUT=8,
    )
    return tokens, crowded


class _Minima(NamedTuple):
    """Of one chunk."""

    half: Tensor  # (k,) |a|^2 / 2
    scores: Tensor  # (n, k / GROUP) the least of each group


def _group_minima(queries: Tensor, chunk: ScreenChunk, screen: Screen) -> _Minima:
    """Scores of (n, d) queries, as their negatives in the screen's precision."""
    from codec.quantizers.search import kernels

    rows, dims = chunk.rows, screen.dims
    n = len(queries)
    assert queries.is_contiguous() and rows.is_contiguous()
    half = rows[:, dims : dims + PARTS].float().sum(dim=1)  # (k,)
    minima = torch.empty(n, len(rows) // GROUP, device=rows.device)
    tiles = _tiles(n, rows.device)
    blocks, code_tiles = -(-n // tiles.queries), -(-len(rows) // tiles.codes)
    tiles_each = _tiles_each(blocks, code_tiles, _processors(rows.device))
    kernels.group_minima[(blocks * -(-code_tiles // tiles_each),)](
        queries,
        rows,
        half,
        minima,
        n,
        len(rows),
        queries.stride(0),
        rows.stride(0),
        tiles_each,
        D=dims,
        GROUP=GROUP,
        BLOCK_N=tiles.queries,
        BLOCK_K=tiles.codes,
        BLOCK_D=tiles.columns,
        WIDEN=not rows.is_cuda,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    return _Minima(half, minima)


def _list(
    slab: _Queries, chunk: ScreenChunk, screen: Screen, minima: _Minima, offset: int, found: Tensor, count: Tensor
) -> Tensor:
    """Adds the codes of a chunk that may be nearest to ``found`` and ``count``; (n,) whether numbers are too large."""
    from codec.quantizers.search import kernels

    rows, dims, n = chunk.rows, screen.dims, len(slab.rows)
    size = slab.square.sqrt()
    both = (size + slab.rounded) * chunk.reach + chunk.reach.square() + chunk.tail.square()
    adding = screen.width * 4 * HALF_ULP[torch.float32] * both
    other = slab.rounded * chunk.reach + slab.tail * chunk.tail + adding + TIE * (slab.square + both) + TINY
    bounds = Bounds(chunk.error, other, slab.square)
    slab.least = torch.minimum(slab.least, bounds.upper(minima.scores.amin(dim=1).double()))
    limit = bounds.limit(slab.least)
    limit = limit + 2.0**-20 * limit.abs()  # float32 then cannot round it below itself
    kernels.list_candidates[(n,)](
        slab.rows,
        rows,
        minima.half,
        minima.scores,
        limit.to(torch.float32),
        found,
        count,
        offset,
        minima.scores.shape[1],
        slab.rows.stride(0),
        rows.stride(0),
        D=dims,
        GROUP=GROUP,
        SLOTS=SLOTS,
        BLOCK_G=1024,
        BLOCK_D=64,
    )
    return both >= LARGEST


def _tiles(queries: int, device: torch.device) -> Tiles:
    """For so many queries, what the device's shared memory holds."""
    if queries <= FEW.queries:
        return FEW
    shared = _shared_bytes(device)
    return next((tiles for tiles in TILES if tiles.shared_bytes <= shared), FEW)


@cache
def _tiles_each(blocks: int, code_tiles: int, processors: int) -> int:
    """Tiles of codes for one program, where each of ``blocks`` of queries needs all ``code_tiles``.

    A few programs a processor, in whole rounds: a round that is half empty lasts as long as a full one.
    """
    most = max(1, min(code_tiles, 4 * processors // blocks))  # programs for one block of queries

    def lasts(each: int) -> tuple[int, int]:  # tiles one after another on a processor; of equals the fewest programs
        programs = blocks * -(-code_tiles // each)
        return -(-programs // processors) * each, -each

    return min({-(-code_tiles // programs) for programs in range(1, most + 1)}, key=lasts)


@cache
def _shared_bytes(device: torch.device) -> int:
    """For one block of threads."""
    if device.type != "cuda":
        return TILES[-1].shared_bytes
    properties = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)  # type: ignore[attr-defined]  # absent from torch's stubs only


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
