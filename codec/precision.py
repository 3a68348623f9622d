"""Full float32 for what tokens depend on, also where the process allows less."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """Matrix products, convolutions and recurrent layers in full float32, whatever is allowed outside.

    torch lets cuDNN take TF32 (ten bits) for convolutions and recurrent layers unless told otherwise, and callers may
    allow TF32 or bfloat16 for products too: both change tokens, and the first makes those of a GPU differ from those of
    a CPU. The switches are those of the whole process: of several threads in here, the first turns them and the last
    one to leave turns them back.
    """
    _FULL.enter()
    try:
        yield
    finally:
        _FULL.leave()


class _Switches:
    """The process' switches, with those who want full float32 counted."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = _turn_to_full()
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                _turn_back(*self._before)


_FULL = _Switches()


def _switches() -> tuple[Any, ...]:
    cuda, mkldnn, cudnn = torch.backends.cuda, torch.backends.mkldnn, torch.backends.cudnn
    return cuda.matmul, mkldnn.matmul, cudnn.conv, cudnn.rnn, mkldnn.conv, mkldnn.rnn  # type: ignore[attr-defined]


def _turn_to_full() -> tuple[str, bool, list[str]]:
    before = [switch.fp32_precision for switch in _switches()]
    # torch does not answer the older questions where only some of the switches were turned.
    try:
        overall = torch.get_float32_matmul_precision()
    except RuntimeError:
        overall = "highest"
    try:
        tf32 = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    # The older way of saying no leaves these to what is said for all of cuDNN or of torch in the newer one.
    for switch in _switches()[2:]:
        switch.fp32_precision = "ieee"
    return overall, tf32, before


def _turn_back(overall: str, tf32: bool, before: list[str]) -> None:
    torch.set_float32_matmul_precision(overall)
    torch.backends.cudnn.allow_tf32 = tf32
    for switch, precision in zip(_switches(), before, strict=True):
        switch.fp32_precision = precision
