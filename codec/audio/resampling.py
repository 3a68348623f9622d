"""Resampling with a windowed sinc: of a whole signal, or of one that comes in blocks.

torchaudio is imported when the first rate is changed: most audio has the model's rate, and need not pay for it.
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.audio.interpolation import Interpolator, Kernel
from codec.errors import CodecError

_MAX_TAPS = 1 << 20  # of torchaudio's table of kernels; its size is the product of the reduced rates


def resample(audio: Tensor, from_rate: int, to_rate: int, **kernel: Any) -> Tensor:
    """Resample (..., T) to (..., ceil(T * to_rate / from_rate)) with a windowed sinc.

    Args:
        audio: float, on any device.
        from_rate: Hz.
        to_rate: Hz.
        kernel: of ``torchaudio.functional.resample``, where its own defaults are not wanted.

    Raises:
        CodecError: a rate that is no positive whole number.
    """
    _check_rates(from_rate, to_rate)
    if from_rate == to_rate:
        return audio
    if not _has_table(from_rate, to_rate):
        interpolator = Interpolator(from_rate, to_rate, Kernel(**kernel))
        return torch.cat([interpolator.push(audio), interpolator.finish()], dim=-1)
    import torchaudio.functional

    T = audio.shape[-1]
    # torchaudio rounds the length in float32 and cuts long audio short: a few more zeros, then the exact cut.
    padded = F.pad(audio, (0, 1 + (T >> 20)))
    resampled = torchaudio.functional.resample(padded, from_rate, to_rate, **kernel)
    return resampled[..., : resampled_length(T, from_rate, to_rate)]


def resample_sharply(audio: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """:func:`resample` with a kernel ten times as long, for narrow bands that are to stay narrow.

    Next to half of the lower rate the short kernel lets a mirror image of the speech through: after 8 kHz and back
    there is something above 4 kHz, which PESQ-WB takes for bandwidth (0.1 for Codec 2 at 3200 bit/s).

    Raises:
        CodecError: what :func:`resample` raises.
    """
    return resample(
        audio,
        from_rate,
        to_rate,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )


def resampled_length(num_samples: int, from_rate: int, to_rate: int) -> int:
    """Samples that :func:`resample` makes of ``num_samples``."""
    return -(-num_samples * to_rate // from_rate)


class Resampler:
    """Resamples blocks (T,) float32 on the CPU; all together give what :func:`resample` gives on the whole signal.

    Output sample by output sample the same products are summed; what is held is as long as the kernel.

    >>> resampler = Resampler(44_100, 24_000)
    >>> parts = [resampler.push(block) for block in blocks] + [resampler.finish()]

    Raises:
        CodecError: rates that :func:`resample` refuses.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        _check_rates(from_rate, to_rate)
        self.from_rate, self.to_rate = from_rate, to_rate
        divisor = math.gcd(from_rate, to_rate)
        self._step, self._made = from_rate // divisor, to_rate // divisor  # so many inputs make so many outputs
        self._taken = self._given = 0
        self._interpolator = None
        if not _has_table(from_rate, to_rate):
            self._interpolator = Interpolator(from_rate, to_rate)
        elif from_rate != to_rate:
            import torchaudio.transforms

            # The kernel in float32, as the function makes it.
            self._whole = torchaudio.transforms.Resample(from_rate, to_rate, dtype=torch.float32)
            self._margin = -(-self._whole.width // self._step)  # steps on each side of one that its outputs depend on
            self._held = torch.zeros(self._margin * self._step)  # silence before the first sample, as in one pass

    def push(self, block: Tensor) -> Tensor:
        """The outputs that these samples complete, (T,)."""
        if self._interpolator:
            return self._interpolator.push(block)
        self._taken += len(block)
        return block if self.from_rate == self.to_rate else self._advance(block)

    def finish(self) -> Tensor:
        """What is left, (T,); nothing may follow."""
        if self._interpolator:
            return self._interpolator.finish()
        if self.from_rate == self.to_rate:
            return torch.zeros(0)
        missing = resampled_length(self._taken, self.from_rate, self.to_rate) - self._given
        return self._advance(torch.zeros((self._margin + 1) * self._step))[:missing]

    def _advance(self, block: Tensor) -> Tensor:
        held = torch.cat([self._held, block])
        steps = max(0, len(held) // self._step - 2 * self._margin)
        if steps == 0:
            self._held = held
            return held[:0]
        made = self._whole(held[: (steps + 2 * self._margin) * self._step])
        self._held = held[steps * self._step :].clone()  # a view would keep the whole block
        self._given += steps * self._made
        return made[self._margin * self._made :][: steps * self._made]


def _check_rates(from_rate: int, to_rate: int) -> None:
    for rate in (from_rate, to_rate):
        if not isinstance(rate, Integral) or rate <= 0:
            raise CodecError(
                f"cannot resample {from_rate} Hz to {to_rate} Hz; give rates that are positive whole numbers"
            )


def _has_table(from_rate: int, to_rate: int) -> bool:
    """Whether the rates share a divisor by which all kernels can be held."""
    divisor = math.gcd(from_rate, to_rate)
    return (from_rate // divisor) * (to_rate // divisor) <= _MAX_TAPS
