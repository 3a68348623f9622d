"""What a run tells: means on the device between log steps, then JSON lines and TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
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
        self._counts: dict[str, Tensor] = {}  # on the device too: only there is known which values are finite

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one more value of each name; non-finite values are left out (they are counted as bad steps)."""
        for name, value in values.items():
            value = value.detach().float()
            count = value.isfinite().to(value.dtype)
            value = value.nan_to_num(0.0, 0.0, 0.0)
            known = name in self._sums
            self._sums[name] = self._sums[name] + value if known else value
            self._counts[name] = self._counts[name] + count if known else count

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over steps and processes, of names with a finite value; starts anew.

        Every process must have added the same names.
        """
        if not self._sums:
            return {}
        names = sorted(self._sums)
        sums, counts = (torch.stack([part[name] for name in names]) for part in (self._sums, self._counts))
        sums, counts = accelerator.reduce(torch.stack([sums, counts]), "sum")
        self._sums, self._counts = {}, {}
        means = dict(zip(names, (sums / counts).tolist(), strict=True))
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}

    def state_dict(self, accelerator: Accelerator) -> dict[str, Tensor]:
        """What was added since the last reading, over all processes: (sum, count) of each name."""
        names = sorted(self._sums)
        return {name: accelerator.reduce(torch.stack([self._sums[name], self._counts[name]]), "sum") for name in names}

    def load_state_dict(self, state: Mapping[str, Tensor], accelerator: Accelerator) -> None:
        """Go on from what :meth:`state_dict` gave; one process takes all of it."""
        for name, total in state.items():
            own = total.to(accelerator.device) * int(accelerator.is_main_process)
            self._sums[name], self._counts[name] = own


class RunLog:
    """``metrics.jsonl`` and ``tensorboard/`` of a run folder, written by the main process.

    Args:
        folder: of the run.
        resumed_step: lines of later steps are dropped.
        to_come: kinds of which that step's own line is still to come, and dropped where it is there.
    """

    def __init__(self, folder: Path, resumed_step: int, to_come: Collection[str] = ()) -> None:
        self.path = folder / "metrics.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._forget_after(resumed_step, to_come)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1)

    def _forget_after(self, step: int, to_come: Collection[str]) -> None:
        """Drop lines of steps that are about to be done again, and a last line that was cut short."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if entry["step"] < step or (entry["step"] == step and entry.get("kind") not in to_come):
                kept.append(line + "\n")
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
