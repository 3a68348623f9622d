"""Short-time objective intelligibility (Taal et al. 2011), by the ``pystoi`` package."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import ClassVar

from pystoi import stoi
from torch import Tensor

from codec.evaluation.metric import Metric, MetricError, Value, require_sound

SHORTEST_S = 0.4  # 30 frames of 25.6 ms every 12.8 ms
TOO_FEW_FRAMES = 1e-5  # what pystoi returns, with a warning, where fewer than 30 frames are not silent


class STOI(Metric):
    """Correlation of third-octave envelopes, 0 to 1. Resampling to its 10 kHz is the package's own."""

    name: ClassVar[str] = "stoi"
    values: ClassVar[Mapping[str, Value]] = {"stoi": Value("STOI", "higher")}

    def __init__(self, sample_rate: int) -> None:
        """``sample_rate`` in Hz: the system's, at which :meth:`score` gets its pairs."""
        self._rate = sample_rate

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        require_sound(reference, degraded, self._rate, SHORTEST_S)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # said below
            value = float(stoi(reference.numpy(), degraded.numpy(), self._rate, extended=False))
        if value == TOO_FEW_FRAMES:
            raise MetricError("fewer than 30 frames with speech")
        return {"stoi": value}
