"""What is searched: codes that are a linear map of a table, of which none need exist in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

CHUNK = 4096  # codes at a time


@dataclass(frozen=True)
class LinearCodes:
    """K codes c_k = W C_k + b, in exact arithmetic on float32 weights.

    The search works on codes less ``center`` (b, or the mean of a table without W), since rounding errors are relative
    to the size of what is rounded.
    """

    table: Tensor  # C, (K, D)
    weight: Tensor | None = None  # W, (D, D); None: the table's rows are the codes
    bias: Tensor | None = None  # b, (D,)

    @cached_property
    def center(self) -> Tensor:
        """(D,) float64. Not before it is asked for: a plain search does without, and MPS has no float64."""
        if self.weight is not None and self.bias is not None:
            return self.bias.detach().double()
        if self.weight is not None:
            return torch.zeros(len(self.weight), dtype=torch.float64, device=self.weight.device)
        return self.table.mean(dim=0, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.table)

    def centered(self, index: Tensor | slice) -> Tensor:
        """Codes less the center, (n, D) float64."""
        rows = self.table[index].double()
        return rows - self.center if self.weight is None else rows @ self.weight.double().t()
