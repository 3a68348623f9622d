"""Ending in order where a scheduler asks for the machine back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import torch

from codec.training.launcher import launcher_died


class Stop(IntEnum):
    """Why a run is to end early; the greater, the more it hurries."""

    NO = 0
    TIME = 1  # the limit the user gave: the run ends as it would at its last step
    SIGNAL = 2  # from who may send SIGKILL seconds later: the checkpoint comes first


def wished(signalled: bool, deadline: float) -> Stop:
    """What this process wants, at a deadline on the monotonic clock."""
    return Stop.SIGNAL if signalled else Stop.TIME if time.monotonic() > deadline else Stop.NO


@contextmanager
def caught_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn a preempted job's SIGTERM, or its launcher's death of it, into a question that the loop asks each step."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield lambda: bool(received) or launcher_died()
    finally:
        signal.signal(signal.SIGTERM, before)


def agreed(stop: int, hosts: Any) -> int:
    """Whether any process wants to stop: the greatest of their wishes.

    Args:
        stop: what this one wants, a :class:`Stop` or a truth value.
        hosts: a process group on the CPU; None: alone, there is nobody to ask.
    """
    if hosts is None:
        return stop
    votes = torch.tensor(int(stop))
    torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX, group=hosts)
    return int(votes)
