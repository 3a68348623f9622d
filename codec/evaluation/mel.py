"""Log-mel distance: the spectral term of the training objective, as a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from codec.audio.mel import mel_bands, mel_spectrogram
from codec.evaluation.metric import Metric, MetricError, Value

N_FFT = 1024
LOG_FLOOR = 1e-7


class LogMelDistance(Metric):
    """Mean absolute difference of natural log mel magnitudes, in nats; 0 for equal signals.

    The published training loss to the letter (24 kHz, n_fft 1024, hop 256, 100 HTK mels, magnitude, clipped at 1e-7).
    It fails for nothing but clips shorter than half a window: silence has a mel spectrogram too.
    """

    name: ClassVar[str] = "mel"
    values: ClassVar[Mapping[str, Value]] = {"mel_distance": Value("log-mel distance", "lower", "nats")}
    sample_rate: ClassVar[int] = 24_000

    def __init__(self) -> None:
        self._bands = mel_bands(self.sample_rate, N_FFT, 100)

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        if reference.shape[-1] <= N_FFT // 2:  # the frames at both ends are mirrored
            raise MetricError("shorter than half a mel window")
        return {"mel_distance": float((self._log_mel(reference) - self._log_mel(degraded)).abs().mean())}

    def _log_mel(self, audio: Tensor) -> Tensor:
        """(T,) -> (100, 1 + T // 256)."""
        return mel_spectrogram(audio, self._bands, 256).clamp(min=LOG_FLOOR).log()
