"""Scores of single pairs, without a test set: two waveforms, or two files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codec import audio as audio_io
from codec.errors import CodecError
from codec.evaluation.metric import Metric
from codec.evaluation.pair import Pair, Scores, as_16_bit, check_pair, score_pair
from codec.evaluation.reconstructed_files import read_reconstruction
from codec.evaluation.registry import DEFAULT, MetricOptions, build_metrics
from codec.evaluation.weights import CACHE, UTMOS_FILE
from codec.tensors import check_float

Wave = Tensor | np.ndarray


class Scorer:
    """Metrics that are loaded once, for pairs as they come; the numbers are those of ``recipes/evaluate.py``.

    >>> scorer = Scorer(codec.sample_rate, ["pesq", "stoi"])
    >>> scorer.score(speech, codec.decode(codec.encode(speech))).numbers["pesq_wb"]

    What a metric cannot tell of a pair, or for want of weights or packages of any, is among ``failures`` with its
    reason.

    Args:
        sample_rate: Hz, of the waveforms; each metric resamples them to its own.
        metrics: names, as of ``--metrics``; ``all`` is every one.
        device: of the networks.
        utmos_weights: None: where ``codec fetch utmos`` puts them.
        recogniser: CTC model of transformers for ``wer``, folder or name; None: the default one.
        speaker_network: x-vector model of transformers for ``sim``.

    Raises:
        CodecError: no metric, or an unknown one.
    """

    def __init__(
        self,
        sample_rate: int,
        metrics: Sequence[str] = DEFAULT,
        *,
        device: torch.device | str = "cpu",
        utmos_weights: Path | None = None,
        recogniser: str | Path | None = None,
        speaker_network: str | Path | None = None,
    ) -> None:
        options = MetricOptions(
            sample_rate,
            device,
            utmos_weights=utmos_weights or CACHE.expanduser() / UTMOS_FILE,
            recogniser=recogniser,
            speaker_network=speaker_network,
        )
        self.sample_rate = sample_rate
        self.metrics: list[Metric] = []
        self._unavailable: dict[str, str] = {}
        for metric in build_metrics(metrics, options):
            if reason := metric.unavailable():
                self._unavailable.update(dict.fromkeys(metric.values, reason))
            else:
                self.metrics.append(metric)

    def score(self, reference: Wave, degraded: Wave, text: str | None = None) -> Scores:
        """Score one reconstruction.

        Args:
            reference: (T,) float in [-1, 1], or (1, T), (1, 1, T), on any device.
            degraded: the same; it is clipped and rounded to 16 bits first, as a wave file has it. Where it is longer or
                shorter, it is cut or filled up.
            text: what is said, for ``wer``.

        Raises:
            CodecError: no floats, several recordings or channels, no samples, not finite, or lengths so different that
                they are no pair.
        """
        true, found = _as_mono(reference, "the reference"), _as_mono(degraded, "the reconstruction")
        return self._score(true, found, text, rounded=False)

    def score_files(self, reference: str | Path, degraded: str | Path, text: str | None = None) -> Scores:
        """:meth:`score` of two audio files; mixed down and resampled where they need it.

        Raises:
            CodecError: files that cannot be read, or that are no pair.
        """
        true = audio_io.load(reference, self.sample_rate)
        found, _ = read_reconstruction(Path(degraded), self.sample_rate)
        return self._score(true, found.audio, text, rounded=found.from_file)

    def _score(self, reference: Tensor, degraded: Tensor, text: str | None, *, rounded: bool) -> Scores:
        check_pair(reference, degraded, self.sample_rate)
        pair = Pair(reference, degraded if rounded else as_16_bit(degraded), self.sample_rate, text)
        scores = score_pair(pair, self.metrics)
        return Scores(scores.numbers, {**scores.failures, **self._unavailable})


def _as_mono(wave: Wave, name: str) -> Tensor:
    """(T,) float32 on the CPU."""
    audio = torch.from_numpy(wave) if isinstance(wave, np.ndarray) else wave
    check_float(audio, name)
    if not audio.ndim or audio.numel() != audio.shape[-1]:
        raise CodecError(f"{name} has shape {tuple(audio.shape)}: expected one recording of one channel, (T,)")
    if not audio.numel():
        raise CodecError(f"{name} has no samples")
    if not bool(audio.isfinite().all()):
        raise CodecError(f"{name} has NaN or infinite samples")
    return audio.detach().reshape(-1).to("cpu", torch.float32)
