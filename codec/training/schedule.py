"""Learning rate and loss weights as pure functions of the step."""

from __future__ import annotations

import math
from typing import Protocol

from codec.config import LossConfig, OptimizerConfig, TrainingConfig


class Schedule(Protocol):
    """Settings of a learning rate over time."""

    @property
    def warmup_steps(self) -> int:
        """Of the linear rise."""

    @property
    def schedule(self) -> str:
        """``constant`` or ``cosine``, what follows the rise."""

    @property
    def final_share(self) -> float:
        """Of the rate, where the cosine ends."""

    @property
    def decay_share(self) -> float:
        """Of the steps, at their end: those over which the cosine falls."""


def last_stage_start(training: TrainingConfig) -> int:
    """First step of the last stage; ``steps`` where there is none."""
    return training.steps - round(training.last_stage.share * training.steps)


def in_last_stage(step: int, training: TrainingConfig) -> bool:
    """Whether ``step`` (0-based) belongs to the last stage. A run that is made longer has it at its new end."""
    return last_stage_start(training) <= step < training.steps


def rate_factor(step: int, steps: int, config: Schedule) -> float:
    """Share of the full learning rate at ``step`` (0-based) of ``steps``.

    A linear warm-up that starts above zero, then constant; with "cosine" the last ``decay_share`` of the steps, or all
    behind the warm-up, are a half cosine down to ``final_share``.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return 1.0
    start = max(config.warmup_steps, steps - round(config.decay_share * steps))
    progress = (step - start) / max(1, steps - start)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.final_share + (1 - config.final_share) * falling


def learning_rates(step: int, training: TrainingConfig, config: OptimizerConfig) -> dict[str, float]:
    """Rate of each parameter group at ``step``.

    The schedule ends where the last stage begins, whose rates are constant. A ``quantizer_lr`` of its own knows no
    schedule, only the last stage.
    """
    own = config.lr if config.quantizer_lr is None else config.quantizer_lr
    if in_last_stage(step, training):
        factor = own_factor = training.last_stage.lr_share
    else:
        factor = rate_factor(step, last_stage_start(training), config)
        own_factor = factor if config.quantizer_lr is None else 1.0
    return {
        "network": config.lr * factor,
        "quantizer": own * own_factor,
        "discriminators": config.discriminator_lr * factor,
    }


def losses_at(step: int, training: TrainingConfig, losses: LossConfig) -> LossConfig:
    """The objective's weights at ``step``: in the last stage the mel distance weighs ``mel_factor`` times as much."""
    if not in_last_stage(step, training):
        return losses
    return losses.model_copy(update={"mel": training.last_stage.mel_factor * losses.mel})
