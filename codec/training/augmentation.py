"""Changing crops at random: level, speed and timbre, so that few voices and microphones stand for many.

The draws of a crop come from the generator that chose its place, so they follow from (seed, position) as all else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

import codec.audio as audio_io
from codec.config import DataConfig

# Speeds are twentieths: any other ratio needs a resampling kernel too large to make for every crop.
_SPEED_STEPS = 20
# Where the equaliser's gains are drawn, octave by octave; between them they are interpolated over log frequency.
_BANDS_HZ = (62.5, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)


@dataclass(frozen=True)
class Augmentation:
    """What is done to one crop.

    Args:
        gain_db: added to its level, dB.
        speed: how much faster it is played, pitch and formants with it, in twentieths: 20 is as recorded.
        bands_db: gain of each octave band of an equaliser, dB; none: no equaliser.
    """

    gain_db: float = 0.0
    speed: int = _SPEED_STEPS
    bands_db: tuple[float, ...] = ()

    @classmethod
    def draw(cls, config: DataConfig, rng: np.random.Generator) -> Self:
        """Uniform over the ranges of ``data.gain_db``, ``data.speed`` and ``data.equaliser_db``."""
        low, high = config.gain_db
        gain_db = float(rng.uniform(low, high)) if high > low else low
        slow, fast = (round(speed * _SPEED_STEPS) for speed in config.speed)
        # Nothing is drawn for what is off: a run that has it off reads the crops it always read.
        speed = int(rng.integers(slow, fast + 1)) if fast > slow else slow
        most = config.equaliser_db
        return cls(gain_db, speed, tuple(rng.uniform(-most, most, len(_BANDS_HZ)).tolist()) if most else ())

    def read(self, num_samples: int, sample_rate: int, read: Callable[[int], Tensor]) -> Tensor:
        """(num_samples,): a crop that ``read`` gives at the recorded speed, as long as it is asked for, changed."""
        crop = read(-(-num_samples * self.speed // _SPEED_STEPS))
        crop = audio_io.resample(crop, self.speed, _SPEED_STEPS)[:num_samples]
        if self.bands_db:
            crop = self._equalise(crop, sample_rate)
        return crop * 10 ** (self.gain_db / 20) if self.gain_db else crop

    def _equalise(self, crop: Tensor, sample_rate: int) -> Tensor:
        frequencies = np.fft.rfftfreq(len(crop), 1 / sample_rate)
        gains_db = np.interp(np.log2(np.maximum(frequencies, 1.0)), np.log2(_BANDS_HZ), self.bands_db)
        gains = torch.from_numpy(10 ** (gains_db / 20)).to(crop.dtype)
        return torch.fft.irfft(torch.fft.rfft(crop) * gains, n=len(crop))  # zero phase: timbre alone changes
