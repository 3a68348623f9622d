"""Level: whether a reconstruction is as loud as its reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from codec.evaluation.metric import Metric, Value, require_sound


class LevelDifference(Metric):
    """Difference of the root mean squares over the whole utterance, in dB, whichever is louder.

    A codec may play back what it cannot predict too softly, which no metric of the others says: PESQ and STOI level
    both sides before they compare, SI-SDR scales them, and log-mel distances hardly see a decibel.
    """

    name: ClassVar[str] = "level"
    values: ClassVar[Mapping[str, Value]] = {"level_db": Value("level difference", "lower", "dB", digits=2)}

    def __init__(self, sample_rate: int) -> None:
        """``sample_rate`` in Hz: the system's, at which :meth:`score` gets its pairs."""
        self._rate = sample_rate

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        require_sound(reference, degraded, self._rate, 0.0)
        true, found = (float(audio.double().square().mean()) for audio in (reference, degraded))
        return {"level_db": abs(10 * math.log10(found / true))}
