"""Short-time objective intelligibility, plain (Taal et al. 2011) and extended (Jensen & Taal 2016), by ``pystoi``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from pystoi import stoi
from torch import Tensor

from codec.evaluation.metric import Metric, MetricError, Value, require_sound

SHORTEST_S = 0.4  # 30 frames of 25.6 ms every 12.8 ms
FRAME_S = 0.0256  # of pystoi, which breaks on what holds none
TOO_FEW_FRAMES = 1e-5  # what pystoi returns, with a warning, where fewer than 30 frames are not silent


@contextmanager
def _seeded() -> Iterator[None]:
    """The extended measure adds noise of 1e-16 from numpy's global generator: the same noise every time, then."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


class STOI(Metric):
    """Correlation of third-octave envelopes, 0 to 1. Resampling to its 10 kHz is the package's own."""

    name: ClassVar[str] = "stoi"
    values: ClassVar[Mapping[str, Value]] = {"stoi": Value("STOI", "higher")}
    extended: ClassVar[bool] = False

    def __init__(self, sample_rate: int, placeholders: bool = False) -> None:
        """Build the metric.

        Args:
            sample_rate: Hz, the system's, at which :meth:`score` gets its pairs.
            placeholders: give what pystoi returns for too little speech (1e-5) and for silence (0) as scores, as the
                published protocol does.
        """
        self._rate = sample_rate
        self._placeholders = placeholders

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        if not self._placeholders:
            require_sound(reference, degraded, self._rate, SHORTEST_S)
        elif reference.shape[-1] <= FRAME_S * self._rate:
            raise MetricError("shorter than one frame of 25.6 ms")
        with warnings.catch_warnings(), _seeded():
            warnings.simplefilter("ignore", RuntimeWarning)  # said below
            value = float(stoi(reference.numpy(), degraded.numpy(), self._rate, extended=self.extended))
        if value == TOO_FEW_FRAMES and not self._placeholders:
            raise MetricError("fewer than 30 frames with speech")
        return {self.name: value}


class ESTOI(STOI):
    """Correlation of whole spectra over 0.4 s, stricter where distortion comes and goes in time."""

    name: ClassVar[str] = "estoi"
    values: ClassVar[Mapping[str, Value]] = {"estoi": Value("ESTOI", "higher")}
    extended: ClassVar[bool] = True
