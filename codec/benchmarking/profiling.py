"""Where a piece of work spends its time."""

from __future__ import annotations

import torch

from codec.benchmarking.timing import Work


def profiled(work: Work, device: torch.device) -> str:
    """Operations by their own time on the device, and by that of the host."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, acc_events=True) as seen:
        work()
    keys = ["self_cpu_time_total"] + ["self_cuda_time_total"] * (device.type == "cuda")
    averages = seen.key_averages()
    return "\n".join(averages.table(sort_by=key, row_limit=40, max_name_column_width=70) for key in keys)
