"""Ending in order where a scheduler asks for the machine back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def caught_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM (a preempted job) into a question that the loop asks after each step."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)
