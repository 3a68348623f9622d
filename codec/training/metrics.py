"""What a run tells: means on the device between log steps, then JSON lines and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from codec.files import write_text


class Means:
    """Running means of scalars, kept on the device; nothing is read back before :meth:`read`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one more value of each name; non-finite values are left out (they are counted as bad steps)."""
        for name, value in values.items():
            value = value.detach().float().nan_to_num(0.0, 0.0, 0.0)
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over steps and processes; starts anew. Every process must have added the same names."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        means = torch.stack([self._sums[name] / self._counts[name] for name in names])
        means = accelerator.reduce(means, "mean")
        self._sums, self._counts = {}, {}
        return dict(zip(names, means.tolist(), strict=True))


class RunLog:
    """``metrics.jsonl`` and ``tensorboard/`` of a run folder, written by the main process."""

    def __init__(self, folder: Path, resumed_step: int) -> None:
        self.path = folder / "metrics.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._forget_after(resumed_step)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1)

    def _forget_after(self, step: int) -> None:
        """Drop lines of steps that are about to be done again, and a last line that was cut short."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except json.JSONDecodeError:
                continue
        write_text(self.path, "".join(kept))

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Append one line and the scalars' curves."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush TensorBoard."""
        self.board.close()
