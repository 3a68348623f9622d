"""Speaker similarity: whether a reconstruction still sounds like the same person to a speaker verification network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.evaluation import hub
from codec.evaluation.metric import MetricError, Value, require_sound
from codec.evaluation.network_metric import NetworkMetric


class SpeakerSimilarity(NetworkMetric):
    """Cosine of the angle between two x-vectors (WavLM, arXiv 2110.13900), of the original and the reconstruction.

    Any x-vector model of ``transformers``; numbers of two different ones cannot be compared. One utterance at a time,
    nothing padded.

    Args:
        network: folder, or repository in the hub's cache; None: the default.
        device: of the network.
    """

    name: ClassVar[str] = "sim"
    values: ClassVar[Mapping[str, Value]] = {"speaker_similarity": Value("speaker similarity", "higher")}
    sample_rate: ClassVar[int] = 16_000

    def __init__(self, network: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        super().__init__(network or hub.REPOSITORIES["sim"], device)

    def _load(self) -> None:
        library = hub.transformers()
        folder = hub.find(self._source, "sim")
        self._extractor = hub.load_settings(library.AutoFeatureExtractor, folder)
        hub.check_rate(self._extractor.sampling_rate, self.sample_rate, folder)
        self.weights = hub.fingerprint(folder)
        self._network = hub.load(library.AutoModelForAudioXVector, folder, self._device)
        self.shortest_s = _shortest(self._network.config) / self.sample_rate

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        assert self._network is not None, "unavailable() comes first"
        require_sound(reference, degraded, self.sample_rate, self.shortest_s)
        if degraded.shape[-1] < self.shortest_s * self.sample_rate:
            raise MetricError(f"shorter than {self.shortest_s:g} s")
        similarity = F.cosine_similarity(self.embed(reference).double(), self.embed(degraded).double(), dim=0)
        return {"speaker_similarity": float(similarity)}

    @torch.inference_mode()
    def embed(self, audio: Tensor) -> Tensor:
        """x-vector (D,) of (T,) float32 at 16 kHz."""
        features = self._extractor(audio.numpy(), sampling_rate=self.sample_rate, return_tensors="pt")
        return self._network(features.input_values.to(self._device)).embeddings[0].cpu()


def _shortest(config: Any) -> int:
    """Samples for two frames after the time-delay layers, of which the deviation over time is taken."""
    frames = 2 + sum((k - 1) * d for k, d in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True))
    samples = frames
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
