"""Products of codes and queries in 8-bit integers, where the processor is fast at them and adds up without an error."""

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import Tensor

from codec.quantizers.search.codes import CHUNK

logger = logging.getLogger(__name__)

DIGIT = 127  # the largest magnitude of a query's number
WIDTH = 200  # columns of the trial: more than any instruction adds up at once


@cache
def fast() -> bool:
    """Whether this processor multiplies bytes fast, and without an error.

    Older ones add pairs of products in 16 bits, where large ones are cut off: what torch would do there too.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    able = torch.cpu.get_capabilities()
    if not (able.get("amx_int8") or able.get("avx512_vnni") or able.get("avx_vnni")):
        return False
    if not all(hasattr(torch.ops.onednn, name) for name in ("qlinear_prepack", "qlinear_pointwise")):
        return False
    try:
        return _exact()
    except RuntimeError as error:  # operations of torch that its documentation does not promise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        logger.warning(
            "the code search does without 8-bit integers, which torch %s fails at: %s", torch.__version__, reason
        )
        return False


def _exact() -> bool:
    """Whether products of the largest and of random numbers are right."""
    generator = torch.Generator("cpu").manual_seed(0)
    low, high = -DIGIT, DIGIT + 1
    rows = torch.randint(256, (128, WIDTH), dtype=torch.uint8, generator=generator, device="cpu")
    queries = torch.randint(low, high, (16, WIDTH), dtype=torch.int8, generator=generator, device="cpu")
    rows[:64], queries[:4], queries[4:6] = 255, DIGIT, -DIGIT
    exact = rows.long() @ queries.long().t()
    scale = torch.ones(len(queries), dtype=torch.float32, device="cpu")
    order = _prepacked(queries)
    if not torch.equal(_multiplied(rows, order, scale, 0 * scale, torch.float32).long(), exact):
        return False
    reached = _multiplied(rows, order, 2.0**-13 * scale, 20 * scale, torch.int8)
    return bool(((exact * 2.0**-13 + 20).clamp(-128, 127) - reached).abs().max() <= 0.51)


def packed(queries: Tensor) -> Tensor:
    """(n, D) int8 -> the same as :func:`product` wants it: in the order in which the processor reads it, once."""
    return _prepacked(queries) if queries.device.type == "cpu" and fast() else queries


def product(rows: Tensor, queries: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """(k, D) uint8 and what :func:`packed` made of (m, D) int8 -> ``scale * rows.queries + shift``, (k, m).

    Integers are added up exactly; the rest is float32.

    Args:
        rows: without a sign.
        queries: m of them.
        scale: (n,), n <= m: those of the other columns are 0.
        shift: (n,), likewise.
        dtype: float32, or int8: to the nearest integer, cut off at -128 and 127.
    """
    filled = (0, (queries.shape[1] if queries.is_mkldnn else len(queries)) - len(scale))
    scale = torch.nn.functional.pad(scale.float(), filled)
    shift = torch.nn.functional.pad(shift.float(), filled)
    if queries.is_mkldnn:
        return _multiplied(rows, queries, scale, shift, dtype)
    result = torch.mm(rows.double(), queries.double().t()).float() * scale + shift
    return result if dtype == torch.float32 else result.round().clamp(-128, 127).to(dtype)


def _prepacked(queries: Tensor) -> Tensor:
    order: Tensor = torch.ops.onednn.qlinear_prepack(queries, [CHUNK, queries.shape[1]])
    return order


def _multiplied(rows: Tensor, queries: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    no_zero = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
    result: Tensor = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, 0, queries, scale, no_zero, shift, 1.0, 0, dtype, "none", [], ""
    )
    return result
