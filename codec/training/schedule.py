"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from codec.config import OptimizerConfig


def rate_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """Share of the full learning rate at ``step`` (0-based) of ``steps``.

    A linear warm-up that starts above zero, then constant, or a half cosine down to ``final_share``.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_share + (1 - config.final_share) * falling
