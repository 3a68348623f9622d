"""recipes/train.py with everything in float64: what rounding makes of a run is then far below what a mistake would.

The places that say ``.float()`` are meant to be float32 under any autocast; here they are float64 too.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from torch import Tensor

from codec.training.trainer import Trainer

single, step = Tensor.float, Trainer.step


def double(tensor: Tensor) -> Tensor:
    return single(tensor) if tensor.dtype == torch.bool else tensor.double()  # what Adam is told is no value


def step_in_double(self: Trainer, micro_batches: list[Tensor]) -> None:
    step(self, [batch.double() for batch in micro_batches])


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    Tensor.float = double  # type: ignore[method-assign, assignment]
    Trainer.step = step_in_double  # type: ignore[method-assign]
    runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "train.py"), run_name="__main__")
