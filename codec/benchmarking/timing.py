"""Clocks: several contestants in one process, in turn, so that what the machine does meanwhile hits them alike."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    median_s: float
    low_s: float  # quartiles
    high_s: float
    runs: int
    peak_mb: float | None  # memory beyond what was in use before; None where it cannot be measured


def measure(
    contestants: Mapping[str, Work], device: torch.device, *, runs: int = 7, least_s: float = 0.0
) -> dict[str, Timing]:
    """Call each contestant once to warm up, once for its memory, and then all in turn, ``runs`` times.

    Args:
        contestants: name -> work.
        device: waited for before the clock is read.
        runs: at least 1.
        least_s: further rounds until all calls together have taken so long.
    """
    peaks = {}
    for name, work in contestants.items():
        work()  # what is made once and kept is not of every call
        peaks[name] = peak_memory(work, device)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    total_s = 0.0
    while len(next(iter(times.values()))) < runs or total_s < least_s:
        for name, work in contestants.items():
            wait(device)
            started = time.perf_counter()
            work()
            wait(device)
            times[name].append(time.perf_counter() - started)
            total_s += times[name][-1]
    return {name: _timing(values, peaks[name]) for name, values in times.items()}


def _timing(times: list[float], peak_mb: float | None) -> Timing:
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return Timing(statistics.median(times), low, high, len(times), peak_mb)


def peak_memory(work: Work, device: torch.device) -> float | None:
    """Megabytes (10^6 bytes) that one call needs beyond what is in use before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        work()
        return None
    ctypes.CDLL(None).malloc_trim(0)  # else memory that was freed but kept would count as there before
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew from here
    before_kb = _status("VmRSS")
    work()
    return (_status("VmHWM") - before_kb) * 1024 / 1e6


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(f"the kernel does not tell {name}")


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked to: of any kind, or a clock would see no more than the asking."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
