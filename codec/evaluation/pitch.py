"""Voicing and pitch: V/UV F1, periodicity and pitch RMSE from CREPE.

The protocol of CARGAN (arXiv 2110.10139) that Vocos, WavTokenizer and SimVQ report: torchcrepe's full model at 16 kHz,
50 to 550 Hz, every 10 ms, Viterbi decoding, no padding; frames whose mean A-weighted level lies below -60 dB have
periodicity 0; a frame is voiced from periodicity 0.21 on.
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import librosa
import numpy as np
import torch
from torch import Tensor

from codec.errors import CodecError
from codec.evaluation.crepe import FRAME, HOP, SAMPLE_RATE, Crepe
from codec.evaluation.metric import Metric, MetricError, Value
from codec.evaluation.torchcrepe_alone import torchcrepe
from codec.files import replacing

FMIN, FMAX = 50.0, 550.0  # Hz
SILENCE_DB = -60.0
VOICED = 0.21


@dataclass(frozen=True)
class PitchTrack:
    """What the metric needs of one signal; F frames of 10 ms."""

    bins: np.ndarray  # (F,) int16, CREPE's pitch bins
    periodicity: np.ndarray  # (F,) float32, 0 where silent

    @property
    def voiced(self) -> np.ndarray:
        """(F,) bool."""
        return self.periodicity >= np.float32(VOICED)


class VoicingAndPitch(Metric):
    """F1 of voiced frames, RMSE of periodicity, and RMSE of pitch in cents over frames that are voiced in both.

    Two deviations from the published script, both without effect on usual F1 scores: where no frame is voiced in both
    signals but some are in one, F1 is 0 (its definition) rather than left out; and pitch is not dithered, so that
    equal signals have pitch RMSE 0 and a second run gives the same number.

    The network dominates an evaluation's time on a CPU, and every system is compared with the same references. Their
    tracks are therefore kept in ``cache``, one small file each, named by a hash of the very samples.

    Args:
        device: of the network.
        cache: folder shared by all evaluations; None keeps nothing.
        undefined_f1: leave out F1 where no frame is voiced in both, as the published protocol does.
    """

    name: ClassVar[str] = "f1"
    values: ClassVar[Mapping[str, Value]] = {
        "vuv_f1": Value("V/UV F1", "higher"),
        "periodicity_rmse": Value("periodicity RMSE", "lower"),
        "pitch_rmse_cents": Value("pitch RMSE", "lower", "cents", digits=1),
    }
    sample_rate: ClassVar[int] = SAMPLE_RATE

    def __init__(
        self, device: torch.device | str = "cpu", cache: Path | None = None, undefined_f1: bool = False
    ) -> None:
        self._undefined_f1 = undefined_f1
        self._device = torch.device(device)
        self._cache = cache

    @property
    def in_pool(self) -> bool:
        """See :meth:`Metric.in_pool`."""
        return self._device.type == "cpu"

    def unavailable(self) -> str | None:
        """See :meth:`Metric.unavailable`."""
        try:
            torchcrepe()
        except CodecError as error:
            return str(error)
        return None

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        if reference.shape[-1] < FRAME:
            raise MetricError("shorter than one pitch frame of 64 ms")
        true = self._reference_track(reference)
        found = self.track(degraded)
        both = int((true.voiced & found.voiced).sum())
        either = int(true.voiced.sum()) + int(found.voiced.sum())
        scores = {"periodicity_rmse": _rms(true.periodicity.astype(np.float64) - found.periodicity)}
        if either == 0:
            raise MetricError("no voiced frames", scores)
        scores["vuv_f1"] = 2 * both / either  # 2 TP / (2 TP + FP + FN)
        if both == 0:
            if self._undefined_f1:
                del scores["vuv_f1"]
            raise MetricError("no frame is voiced in both", scores)
        common = true.voiced & found.voiced
        cents = torchcrepe().CENTS_PER_BIN * (true.bins[common].astype(np.float64) - found.bins[common])
        scores["pitch_rmse_cents"] = _rms(cents)
        return scores

    def track(self, audio: Tensor) -> PitchTrack:
        """Analyse (T,) float32 at 16 kHz, T >= 1024."""
        posteriors = self._network.posteriors(audio).T.unsqueeze(0)  # (1, 360, F)
        # The pitch in Hz that comes with the bins is dithered; only the bins are used.
        bins, periodicity = torchcrepe().postprocess(posteriors, FMIN, FMAX, _viterbi_bins, return_periodicity=True)
        periodicity = periodicity[0].numpy().copy()
        periodicity[_level_db(audio) < SILENCE_DB] = 0.0
        return PitchTrack(bins[0].numpy().astype(np.int16), periodicity)

    @cached_property
    def _network(self) -> Crepe:
        return Crepe(self._device)

    def _reference_track(self, audio: Tensor) -> PitchTrack:
        if self._cache is None:
            return self.track(audio)
        path = self._cache_path(self._cache, audio)
        track = _load(path)
        if track is None:
            track = self.track(audio)
            with replacing(path) as temporary:
                np.savez(temporary, bins=track.bins, periodicity=track.periodicity)
        return track

    def _cache_path(self, cache: Path, audio: Tensor) -> Path:
        # The kind of device is in the name because its rounding is in the track.
        settings = f"{version('torchcrepe')} {self._device.type} {FMIN} {FMAX} {SILENCE_DB}"
        digest = hashlib.sha256(settings.encode())
        digest.update(audio.numpy().tobytes())
        name = digest.hexdigest()[:32]
        return cache / name[:2] / f"{name}.npz"


def _viterbi_bins(posteriors: Tensor) -> tuple[Tensor, Tensor]:
    """torchcrepe's Viterbi decoder with the bins in place of the pitch."""
    bins, _ = torchcrepe().decode.viterbi(posteriors)
    return bins, bins


def _level_db(audio: Tensor) -> np.ndarray:
    """Mean A-weighted level of each frame in dB relative to 20 dB: (T,) -> (F,)."""
    window = torch.hann_window(FRAME)
    spectrum = torch.stft(audio, FRAME, HOP, window=window, center=False, return_complex=True)  # (513, F)
    power = spectrum.abs().square().numpy()
    frequencies = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=FRAME)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # log of 0 Hz, which librosa then clips to -80 dB
        weighted = librosa.perceptual_weighting(power, frequencies)
    return (weighted - torchcrepe().loudness.REF_DB).mean(axis=0)


def _load(path: Path) -> PitchTrack | None:
    """A cached track; None where there is none or it is damaged."""
    try:
        with np.load(path) as arrays:
            return PitchTrack(arrays["bins"], arrays["periodicity"])
    # All that NumPy and zipfile raise of bytes that are others: EOFError of an empty file, RuntimeError where they seem
    # to ask for a password or another way of packing.
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile):
        return None


def _rms(differences: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(differences))))
