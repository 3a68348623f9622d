# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def"
"""Triton kernels of the fused search (:mod:`codec.quantizers.search.fused`). Importing this needs Triton.

N queries, K codes, D columns. Sizes of blocks are powers of two; D is any, its last block masked.
"""

from __future__ import annotations

import triton
import triton.language as tl


# Lengths of recordings: a kernel for every kind of them (1, a multiple of 16, any other) would be compiled again.
@triton.jit(do_not_specialize=["N", "tiles_each"])
def group_minima(
    queries,  # (N, at least D): -z
    codes,  # (K, at least D): a
    half,  # (K,): |a|^2 / 2, inf for a code that is none
    minima,  # (N, K / GROUP) float32, written
    N,
    K,  # a multiple of GROUP
    query_stride,
    code_stride,
    tiles_each,  # BLOCK_K codes each, for one program
    D: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDEN: tl.constexpr,  # multiply in float32: the interpreter knows no product of bfloat16
):
    """The least score |a|^2 / 2 - z.a of every GROUP codes in a row. Scores never leave the registers.

    Programs that run at the same time have the same codes and different queries, so that codes come from the cache.
    """
    blocks = tl.cdiv(N, BLOCK_N)
    program = tl.program_id(0)
    rows = (program % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    first = (program // blocks) * tiles_each
    last = tl.minimum(first + tiles_each, tl.cdiv(K, BLOCK_K))
    steps: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    columns = tl.arange(0, BLOCK_D)
    query_rows = queries + rows.to(tl.int64)[:, None] * query_stride
    groups = K // GROUP
    acc = tl.zeros((BLOCK_N, BLOCK_K), dtype=tl.float32)
    for step in range(first * steps, last * steps):  # one loop over tiles and columns: loads run ahead across tiles
        tile = step // steps
        d = (step % steps) * BLOCK_D + columns
        members = tile * BLOCK_K + tl.arange(0, BLOCK_K)
        code_rows = codes + members.to(tl.int64)[:, None] * code_stride
        if D % BLOCK_D == 0:
            z = tl.load(query_rows + d[None, :], mask=(rows < N)[:, None], other=0.0)
            a = tl.load(code_rows + d[None, :], mask=(members < K)[:, None], other=0.0)
        else:
            z = tl.load(query_rows + d[None, :], mask=(rows < N)[:, None] & (d < D)[None, :], other=0.0)
            a = tl.load(code_rows + d[None, :], mask=(members < K)[:, None] & (d < D)[None, :], other=0.0)
        if WIDEN:
            acc = tl.dot(z.to(tl.float32), tl.trans(a.to(tl.float32)), acc, input_precision="ieee")
        else:
            acc = tl.dot(z, tl.trans(a), acc)
        if step % steps == steps - 1:
            norms = tl.load(half + members, mask=members < K, other=float("inf"))
            scores = tl.reshape(acc + norms[None, :], (BLOCK_N, BLOCK_K // GROUP, GROUP))
            group = tile * (BLOCK_K // GROUP) + tl.arange(0, BLOCK_K // GROUP)
            tl.store(
                minima + rows.to(tl.int64)[:, None] * groups + group[None, :],
                tl.min(scores, axis=2),
                mask=(rows < N)[:, None] & (group < groups)[None, :],
            )
            acc = tl.zeros((BLOCK_N, BLOCK_K), dtype=tl.float32)


@triton.jit(do_not_specialize=["offset", "groups"])
def list_candidates(
    queries,  # (N, at least D): -z
    codes,  # (K, at least D): a
    half,  # (K,)
    minima,  # (N, K / GROUP)
    limit,  # (N,) float32: codes with more than this score are ruled out
    found,  # (N, SLOTS) int32, written: the codes that are not
    count,  # (N,) int32, raised by their number, which SLOTS may not hold
    offset,  # of the first code among all
    groups,
    query_stride,
    code_stride,
    D: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program a query: codes of the groups whose least score is low enough are scored once more, one by one."""
    row = tl.program_id(0).to(tl.int64)
    most = tl.load(limit + row)
    listed = tl.load(count + row)
    for start in range(0, groups, BLOCK_G):
        group = start + tl.arange(0, BLOCK_G)
        least = tl.load(minima + row * groups + group, mask=group < groups, other=float("inf"))
        open_groups = tl.where(least <= most, group, groups)
        hits = tl.where(listed > SLOTS, 0, tl.sum((open_groups < groups).to(tl.int32)))
        for _ in range(hits):
            this = tl.min(open_groups)
            open_groups = tl.where(open_groups == this, groups, open_groups)
            if listed <= SLOTS:
                members = this * GROUP + tl.arange(0, GROUP)
                code_rows = codes + members.to(tl.int64)[:, None] * code_stride
                score = tl.load(half + members)
                for first in range(0, D, BLOCK_D):
                    d = first + tl.arange(0, BLOCK_D)
                    z = tl.load(queries + row * query_stride + d, mask=d < D, other=0.0).to(tl.float32)
                    a = tl.load(code_rows + d[None, :], mask=(d < D)[None, :], other=0.0).to(tl.float32)
                    score += tl.sum(a * z[None, :], axis=1)
                left = (score <= most).to(tl.int32)
                slot = listed + tl.cumsum(left) - 1
                tl.store(found + row * SLOTS + slot, members + offset, mask=(left > 0) & (slot < SLOTS))
                listed += tl.sum(left)
    tl.store(count + row, listed)


@triton.jit
def decide(
    centered,  # (N, D) float64: z
    square,  # (N,) float64: |z|^2
    table,  # (K, D)
    weight,  # (D, D), or not looked at
    center,  # (D,) float64, or not looked at
    found,  # (N, SLOTS) int32
    count,  # (N,) int32
    tokens,  # (N,) int64, written
    table_stride,
    tie,
    D: tl.constexpr,
    WEIGHTED: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK_D: tl.constexpr,  # at least D
    BLOCK_OUT: tl.constexpr,
):
    """One program a query: squared distances |z - W C_k|^2 of its candidates in float64; of equals the lowest index."""
    row = tl.program_id(0).to(tl.int64)
    candidates = tl.minimum(tl.load(count + row), SLOTS)
    slots = tl.arange(0, SLOTS)
    index = tl.load(found + row * SLOTS + slots, mask=slots < candidates, other=2147483647)
    answer = tl.min(index)
    if candidates > 1:
        columns = tl.arange(0, BLOCK_D)
        distances = tl.where(slots < candidates, 0.0, float("inf")).to(tl.float64)
        if WEIGHTED:
            for first in range(0, D, BLOCK_OUT):
                outs = first + tl.arange(0, BLOCK_OUT)
                inside = (outs < D)[:, None] & (columns < D)[None, :]
                w = tl.load(weight + outs[:, None] * D + columns[None, :], mask=inside, other=0.0).to(tl.float64)
                z = tl.load(centered + row * D + outs, mask=outs < D, other=0.0)
                for slot in range(candidates):
                    code = tl.load(found + row * SLOTS + slot).to(tl.int64)
                    c = tl.load(table + code * table_stride + columns, mask=columns < D, other=0.0).to(tl.float64)
                    off = z - tl.sum(w * c[None, :], axis=1)
                    distances += tl.where(slots == slot, tl.sum(off * off), 0.0)
        else:
            z = tl.load(centered + row * D + columns, mask=columns < D, other=0.0)
            middle = tl.load(center + columns, mask=columns < D, other=0.0)
            for slot in range(candidates):
                code = tl.load(found + row * SLOTS + slot).to(tl.int64)
                c = tl.load(table + code * table_stride + columns, mask=columns < D, other=0.0).to(tl.float64)
                off = z - (c - middle)
                distances += tl.where(slots == slot, tl.sum(off * off), 0.0)
        least = tl.min(distances)
        tied = distances <= least + tie * (least + tl.load(square + row))
        answer = tl.min(tl.where(tied, index, 2147483647))
    tl.store(tokens + row, tl.where(candidates > 0, answer, 0).to(tl.int64))
