"""What was computed from weights, kept until one of them changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """One value, made again when the weights that it was made from are no longer the same.

    Fused optimisers do not raise a tensor's version, so trained weights are compared by value. A large frozen one is
    moved by nothing but in-place operations and replacement, which version and address tell; made in inference mode it
    has no version, and is compared by value too. A copy or pickle of this keeps nothing.

    Threads may share one: those that find nothing kept wait for the one that makes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._copies: list[Tensor] = []
        self._versions: list[tuple[int, int]] = []

    def get(self, trained: Sequence[Tensor], frozen: Sequence[Tensor], make: Callable[[], Value]) -> Value:
        """The value kept, or else what ``make`` gives, which may outlive the caller's inference mode."""
        trained = [*trained, *(weight for weight in frozen if weight.is_inference())]
        versions = [(weight.data_ptr(), weight._version) for weight in frozen if not weight.is_inference()]
        with self._lock:
            same = len(self._copies) == len(trained) and all(map(_same, self._copies, trained))
            value = self._value
            if value is None or not same or versions != self._versions:
                self._forget()  # first: both at once might not fit into memory
                with torch.inference_mode(False), torch.no_grad():
                    value = make()
                    self._copies = [weight.detach().clone() for weight in trained]
                self._value, self._versions = value, versions
            return value

    def replace(self, value: Value) -> None:
        """Keep another value of the same weights."""
        with self._lock:
            self._value = value

    def drop(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._value, self._copies, self._versions = None, [], []

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, ()


def _same(one: Tensor, other: Tensor) -> bool:
    return one.device == other.device and torch.equal(one, other)
