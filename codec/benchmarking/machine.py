"""The machine, and what it can do: the floor under every time is operations over its matrix rate."""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from codec.benchmarking.timing import wait

SIZE = 1536  # of the square matrices: large enough for the full rate, 28 MB in float32
GPU_SIZE = 8192  # a GPU does the smaller ones in less time than it takes to start them


@dataclass(frozen=True)
class Machine:
    """What stands above a table of speeds."""

    device: str
    processor: str
    cores: int
    torch: str
    float32_gflops: dict[str, float]  # threads (or "device") -> measured rate of matrix products
    bfloat16_gflops: dict[str, float]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def describe(device: torch.device, threads: list[int]) -> Machine:
    """Measure the rates and name the parts."""
    rates: dict[torch.dtype, dict[str, float]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        if device.type == "cpu":
            rates[dtype] = {
                str(count): with_threads(count, lambda d=dtype: matrix_rate(device, d)) for count in threads
            }
        else:
            rates[dtype] = {"device": matrix_rate(device, dtype)}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Machine(
        name, _processor(), torch.get_num_threads(), torch.__version__, rates[torch.float32], rates[torch.bfloat16]
    )


def matrix_rate(device: torch.device, dtype: torch.dtype, runs: int = 7) -> float:
    """10^9 operations a second of a square matrix product, best of ``runs``; a multiply-add is two."""
    size = GPU_SIZE if device.type == "cuda" else SIZE
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        a @ b
        wait(device)
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times[1:]) / 1e9


def with_threads(count: int, work):  # type: ignore[no-untyped-def]
    """``work()`` with so many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


def load() -> float | None:
    """Processes that wanted to run in the last minute: more than a few spoil every time."""
    try:
        return float(Path("/proc/loadavg").read_text(encoding="ascii").split()[0])
    except OSError:
        return None


def spread(values: list[float]) -> float:
    """Interquartile range over the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
