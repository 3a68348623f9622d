"""A reference and its reconstruction, made alike and scored."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from codec import audio as audio_io
from codec.errors import CodecError
from codec.evaluation.metric import Metric, MetricError, Trim

MAX_LENGTH_DIFFERENCE_S = 0.5  # beyond it reference and reconstruction are not a pair


class Pair:
    """A reference and its reconstruction at whatever rate metrics ask for; each resampled once."""

    def __init__(self, reference: Tensor, degraded: Tensor, sample_rate: int, text: str | None = None) -> None:
        """(T,) and (T',) float32, both at ``sample_rate`` Hz; ``text``: what is said, where that is known."""
        T = reference.shape[-1]
        self.reference, self.degraded, self.sample_rate, self.text = reference, degraded, sample_rate, text
        trimmed = F.pad(degraded[:T], (0, max(0, T - degraded.shape[-1])))
        self._signals: dict[tuple[str, int], Tensor] = {
            ("original", sample_rate): reference,
            ("reference", sample_rate): trimmed,
            ("none", sample_rate): degraded,
        }

    def at(self, sample_rate: int | None, trim: Trim) -> tuple[Tensor, Tensor]:
        """Reference (T,) and reconstruction (T',) at ``sample_rate`` (None: their own), trimmed as asked."""
        rate = sample_rate or self.sample_rate
        if trim == "shorter":
            true, found = self._resampled("original", rate), self._resampled("none", rate)
            shorter = min(true.shape[-1], found.shape[-1])
            return true[:shorter], found[:shorter]
        return self._resampled("original", rate), self._resampled(trim, rate)

    def _resampled(self, kind: str, rate: int) -> Tensor:
        key = (kind, rate)
        if key not in self._signals:
            own = self._signals[kind, self.sample_rate]
            self._signals[key] = audio_io.resample(own, self.sample_rate, rate)
        return self._signals[key]


@dataclass(frozen=True)
class Scores:
    """Of one pair: a number or a reason for every value of the metrics, and their counts."""

    numbers: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def check_pair(reference: Tensor, degraded: Tensor, sample_rate: int) -> None:
    """Refuse what cannot be the reconstruction (T',) of a reference (T,).

    Raises:
        CodecError: no samples, samples that are not finite, or another length by more than half a second.
    """
    if not degraded.shape[-1]:
        raise CodecError("the reconstruction has no samples")
    if not bool(degraded.isfinite().all()):
        raise CodecError("the reconstruction has NaN or infinite samples")
    longer_s = (degraded.shape[-1] - reference.shape[-1]) / sample_rate
    if abs(longer_s) > MAX_LENGTH_DIFFERENCE_S:
        raise CodecError(
            f"the reconstruction is {abs(longer_s):.2f} s {'longer' if longer_s > 0 else 'shorter'} "
            "than the reference; they are not a pair"
        )


def score_pair(pair: Pair, metrics: Sequence[Metric]) -> Scores:
    """Score a pair; whatever fails has its reason."""
    result = Scores()
    for metric in metrics:
        numbers, reason = _score(metric, pair)
        for value in metric.values:
            if value in numbers and math.isfinite(numbers[value]):
                result.numbers[value] = numbers[value]
            else:
                result.failures[value] = reason or "not a finite number"
        result.numbers.update({count: numbers[count] for count in metric.counts if count in numbers})
    return result


def _score(metric: Metric, pair: Pair) -> tuple[Mapping[str, float], str | None]:
    """Scores, and why some are missing."""
    try:
        return metric.score_with_text(*pair.at(metric.sample_rate, metric.trim), pair.text), None
    except MetricError as failure:
        return failure.scores, str(failure)


def as_16_bit(audio: Tensor, peak: float = 1.0) -> Tensor:
    """What comes back from a 16-bit wave file after clipping at ``peak``: (T,) float -> (T,) float32.

    By the library that writes such files, because its rounding (towards minus infinity) is its own affair.
    """
    file = io.BytesIO()
    # The rate is part of the header only.
    soundfile.write(file, audio.clamp(-peak, peak).numpy(), 24_000, "PCM_16", format="WAV")
    file.seek(0)
    return torch.from_numpy(soundfile.read(file, dtype="float32")[0])
