"""Statistics of a batch that several processes share. Alone, nothing happens.

Every process calls these in the same order and with tensors of the same shape, as data-parallel training does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def process_count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of all processes' tensors, in place."""
    if process_count() > 1:
        dist.all_reduce(tensor)
    return tensor


def min_over_processes(tensor: Tensor) -> Tensor:
    """The least of all processes' values, element by element, in place."""
    if process_count() > 1:
        dist.all_reduce(tensor, dist.ReduceOp.MIN)
    return tensor


def gather_rows(rows: Tensor) -> Tensor:
    """(N, ...) of each process -> (processes * N, ...), process by process, without gradient."""
    if process_count() == 1:
        return rows.detach()
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(process_count())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)


def same_everywhere(tensor: Tensor) -> Tensor:
    """What the first process has (a random draw), in place."""
    if process_count() > 1:
        dist.broadcast(tensor, 0)
    return tensor
