"""Multi-resolution STFT distance (Yamamoto et al. 2020, arXiv 1910.11480)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from codec.evaluation.metric import Metric, MetricError, Value, require_sound

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # n_fft, hop, window in samples at 24 kHz
POWER_FLOOR = 1e-7  # of a magnitude squared


class MultiResolutionSTFT(Metric):
    """Spectral convergence plus mean absolute difference of natural log magnitudes, the mean of three resolutions.

    Resolutions, sum and floor are those of Parallel WaveGAN's training loss; 0 for equal signals. Spectral convergence
    is relative to the reference, so a silent one has no score.
    """

    name: ClassVar[str] = "stft"
    values: ClassVar[Mapping[str, Value]] = {"stft_distance": Value("multi-resolution STFT distance", "lower")}
    sample_rate: ClassVar[int] = 24_000
    definition: ClassVar[int] = 2  # 1: the floor was of magnitudes

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        longest = max(n_fft for n_fft, _, _ in RESOLUTIONS)
        if reference.shape[-1] <= longest // 2:  # the frames at both ends are mirrored
            raise MetricError("shorter than half a window of the STFT")
        require_sound(reference, degraded, self.sample_rate, 0.0)
        total = 0.0
        for n_fft, hop, length in RESOLUTIONS:
            true, found = (_magnitude(audio, n_fft, hop, length) for audio in (reference, degraded))
            convergence = torch.linalg.norm(true - found) / torch.linalg.norm(true)
            logs = (true.log() - found.log()).abs().mean()
            total += float(convergence + logs)
        return {"stft_distance": total / len(RESOLUTIONS)}


def _magnitude(audio: Tensor, n_fft: int, hop: int, length: int) -> Tensor:
    """(T,) -> (n_fft // 2 + 1, 1 + T // hop)."""
    window = torch.hann_window(length)
    spectrum = torch.stft(audio, n_fft, hop, length, window, center=True, pad_mode="reflect", return_complex=True)
    return torch.view_as_real(spectrum).square().sum(-1).clamp(min=POWER_FLOOR).sqrt()
