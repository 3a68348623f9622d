"""Products of many codes with the same queries, at the rate of the processor's matrix units."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.quantizers.search.screen import screen_dtype

ROWS = 4096  # of the other factor that the packing is made for; any number fits


def packed(queries: Tensor) -> Tensor:
    """(n, width) -> the same in the order in which matrix units read it, where they would reorder it at every call.

    torch packs only bfloat16 with gain, and only on processors, where it does so for compiled models.
    """
    if queries.device.type == "cpu" and queries.dtype == screen_dtype(queries.device) == torch.bfloat16:
        order: Tensor = torch.ops.mkldnn._reorder_linear_weight(queries, ROWS)
        return order
    return queries


def product(rows: Tensor, queries: Tensor) -> Tensor:
    """(k, width) and what :func:`packed` made of (n, width) -> (k, n), added up in float32.

    Written in the precision of the factors, on GPUs in float32.
    """
    if queries.is_mkldnn:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, queries, None, "none", [], "")
        return result
    if rows.is_cuda and rows.dtype != torch.float32:
        return torch.mm(rows, queries.t(), out_dtype=torch.float32)
    return torch.mm(rows, queries.t())
