"""What a metric is, and how it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from codec.errors import CodecError

# Below half a step of 16 bits there is nothing to hear and nothing to compare.
SILENT_PEAK = 2.0**-16

Trim = Literal["reference", "shorter", "none"]


class MetricError(CodecError):
    """A declared failure: this pair has no score, and the reason is counted instead of a number.

    ``scores`` holds those of the metric's values that could be computed all the same.
    """

    def __init__(self, reason: str, scores: Mapping[str, float] | None = None) -> None:
        super().__init__(reason)
        self.scores = dict(scores or {})


@dataclass(frozen=True)
class Value:
    """One number a metric gives, as the report shows it."""

    label: str
    better: Literal["higher", "lower"]
    unit: str = ""
    digits: int = 3
    weight: str | None = None  # the metric's count by which utterances weigh in the mean; None: all alike


class Metric(ABC):
    """Scores one reconstruction. Stateless but for caches: the order of utterances never matters.

    ``score`` gets one pair at a time (nothing is ever padded into a batch), on the CPU, mono, resampled to
    ``sample_rate`` and trimmed as declared.
    """

    name: ClassVar[str]  # what --metrics takes
    values: ClassVar[Mapping[str, Value]]  # every key that score() gives and the report shows
    counts: ClassVar[tuple[str, ...]] = ()  # further keys, of which Value.weight names some; kept, not shown
    sample_rate: ClassVar[int | None] = None  # Hz; None: the system's own
    # reference: the reconstruction is cut, or filled with zeros, to the reference's length; none: left as it is;
    # shorter: both are cut to the shorter one, after resampling (the published protocol's, in place of "reference").
    trim: Trim = "reference"
    needs_reference: ClassVar[bool] = True
    needs_text: ClassVar[bool] = False  # compares with what the manifest says is said
    weights: str | None = None  # SHA-256 of what it was loaded from, where it is learned
    definition: ClassVar[int] = 1  # raised when its numbers change: those of two definitions are never mixed

    @property
    def in_pool(self) -> bool:
        """Whether it may be pickled and computed in another process: it needs no accelerator, and little memory."""
        return True

    def unavailable(self) -> str | None:
        """Why this metric cannot be computed here, with what to do (weights to fetch); None: it can."""
        return None

    @abstractmethod
    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """Compare two waveforms.

        Args:
            reference: (T,) float32 in [-1, 1]; to be ignored where ``needs_reference`` is False.
            degraded: (T',) float32; T' = T unless ``trim`` is ``none``.

        Returns:
            A finite number for every key of ``values``.

        Raises:
            MetricError: the pair has no score. The reason is one short phrase without numbers of the utterance, so
                that equal failures are counted together.
        """

    def score_with_text(self, reference: Tensor, degraded: Tensor, text: str | None) -> dict[str, float]:
        """As :meth:`score`, for metrics of words: ``text`` is what the manifest says is said."""
        return self.score(reference, degraded)


def definitions(metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    """Value -> how reports show it, and what it is computed on; of all values of ``metrics``, in their order."""
    return {
        name: {
            "label": value.label,
            "unit": value.unit,
            "better": value.better,
            "digits": value.digits,
            **({"weight": value.weight} if value.weight else {}),
            "sample_rate": metric.sample_rate,
            "trim": metric.trim,
            "needs_reference": metric.needs_reference,
            **({"weights_sha256": metric.weights} if metric.weights else {}),
        }
        for metric in metrics
        for name, value in metric.values.items()
    }


def require_sound(reference: Tensor, degraded: Tensor, sample_rate: int, shortest_s: float) -> None:
    """Refuse a pair (T,), (T,) that is too short or has a silent side.

    Raises:
        MetricError: which of the three it is.
    """
    if reference.shape[-1] < shortest_s * sample_rate:
        raise MetricError(f"shorter than {shortest_s:g} s")
    if float(reference.abs().max()) < SILENT_PEAK:
        raise MetricError("the reference is silent")
    if float(degraded.abs().max()) < SILENT_PEAK:
        raise MetricError("the reconstruction is silent")
