"""Ending in order: where a scheduler asks for the machine back, or where training has gone wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from codec.errors import CodecError


@contextmanager
def caught_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM (a preempted job) into a question that the loop asks after each step."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


def agreed(stop: bool, hosts: Any) -> bool:
    """Whether any process wants to stop.

    Args:
        stop: whether this one does.
        hosts: a process group on the CPU; None: alone, there is nobody to ask.
    """
    if hosts is None:
        return stop
    votes = torch.tensor(int(stop))
    torch.distributed.all_reduce(votes, group=hosts)
    return bool(votes)


def stop_if_broken(worst_streak: int, limit: int, run: Path) -> None:
    """Raise CodecError after ``limit`` steps in a row with gradients that are not finite."""
    if worst_streak >= limit:
        raise CodecError(
            f"{worst_streak} steps in a row had gradients that are not finite (limit training.max_bad_steps={limit}); "
            f"lower optimizer.lr or set optimizer.clip_norm, and resume from {run / 'checkpoints'}"
        )
