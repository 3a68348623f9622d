"""Stand-ins of known behaviour: a noisy system, and a metric that needs no analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from codec import CodecError
from codec.evaluation import Metric, MetricError, Reconstruction, Value
from codec.manifest import Utterance

RATE = 24_000


def noisy(clip: Tensor, level: float = 0.01, seed: int = 0) -> Tensor:
    """A clip with seeded noise."""
    return clip + level * torch.randn(clip.shape, generator=torch.Generator().manual_seed(seed))


class NoisySystem:
    """Adds noise; remembers what it was asked for; refuses the ids in ``broken``."""

    name = "noisy"
    identity = "noisy"
    sample_rate = RATE
    rate = None

    def __init__(self, broken: tuple[str, ...] = ()) -> None:
        self.broken = broken
        self.asked: list[str] = []

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        self.asked.append(utterance.id)
        if utterance.id in self.broken:
            raise CodecError("refused")
        return Reconstruction(noisy(reference, seed=len(utterance.id)))


class PeakMetric(Metric):
    """Peak of the reconstruction. Fails on clips of over 1.3 s; absent where ``reason`` is given."""

    name: ClassVar[str] = "peak"
    values: ClassVar[Mapping[str, Value]] = {"peak": Value("peak", "higher"), "half_peak": Value("half", "higher")}

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason

    def unavailable(self) -> str | None:
        return self.reason

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        peak = float(degraded.abs().max())
        if len(reference) > 1.3 * RATE:
            raise MetricError("too long", {"half_peak": peak / 2})
        return {"peak": peak, "half_peak": peak / 2}
