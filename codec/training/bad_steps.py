"""Steps whose gradients are not finite: skipped, counted, and the end of a run when there are too many in a row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from codec.errors import CodecError


class BadSteps:
    """Counts on the device: a step that asked what it found would make the host wait.

    Args:
        device: of the run.
        limit: as many in a row end it, ``training.max_bad_steps``.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self.limit = limit
        # All; those at the end without a good one between; the most of those since the last look.
        self.total, self.streak, self.worst = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(3))

    def count(self, bad: Tensor) -> None:
        """Take in whether a step was one, a scalar on the device."""
        self.total += bad
        self.streak = (self.streak + 1) * bad
        self.worst = torch.maximum(self.worst, self.streak)

    def look(self, run: Path) -> None:
        """Wait for the device, and raise CodecError where there were too many in a row since the last look."""
        worst = int(self.worst)
        if worst >= self.limit:
            raise CodecError(
                f"{worst} steps in a row had gradients that are not finite (limit training.max_bad_steps={self.limit});"
                f" lower optimizer.lr or set optimizer.clip_norm, and resume from {run / 'checkpoints'}"
            )
        self.worst = self.streak.clone()

    def take_over(self, counts: Iterable[Tensor]) -> None:
        """Go on from ``total``, ``streak`` and ``worst`` of a checkpoint."""
        self.total, self.streak, self.worst = (count.to(self.total.device) for count in counts)
        if self.worst >= self.limit:  # the run's end was said; resumed, it has a new chance
            self.streak, self.worst = torch.zeros_like(self.streak), torch.zeros_like(self.worst)
