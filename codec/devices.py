"""Which device several processes share work on."""

from __future__ import annotations

import torch
from accelerate.utils import parse_flag_from_env


def on_cpu() -> bool:
    """Whether Accelerate is to use the CPU. Unless told so it takes each of several CPU processes for the only one."""
    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()
