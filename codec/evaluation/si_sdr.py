"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, arXiv 1811.02508)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from codec.evaluation.metric import Metric, MetricError, Value, require_sound


class SISDR(Metric):
    """Energy of the reconstruction along the reference against the rest of it, in dB, both without their mean.

    It compares waveforms sample by sample: codecs that invent phases, as generative ones do, score below 0 dB however
    good they sound. Where the reconstruction is the reference, scaled, the ratio is infinite, which is no number to
    average.
    """

    name: ClassVar[str] = "si-sdr"
    values: ClassVar[Mapping[str, Value]] = {"si_sdr_db": Value("SI-SDR", "higher", "dB", digits=2)}

    def __init__(self, sample_rate: int) -> None:
        """``sample_rate`` in Hz: the system's, at which :meth:`score` gets its pairs."""
        self._rate = sample_rate

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        require_sound(reference, degraded, self._rate, 0.0)
        true = reference.double() - reference.double().mean()
        found = degraded.double() - degraded.double().mean()
        if not bool(true.any()):
            raise MetricError("the reference is constant")
        target = torch.dot(found, true) / torch.dot(true, true) * true
        rest = found - target
        signal, distortion = float(torch.dot(target, target)), float(torch.dot(rest, rest))
        if distortion <= torch.finfo(torch.float64).eps * signal:
            raise MetricError("the reconstruction is the reference")
        if signal == 0:
            raise MetricError("the reconstruction has nothing of the reference")
        return {"si_sdr_db": float(10 * torch.log10(torch.tensor(signal / distortion, dtype=torch.float64)))}
