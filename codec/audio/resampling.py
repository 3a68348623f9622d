"""Resampling with a windowed sinc: of a whole signal, or of one that comes in blocks.

The samples are those of ``torchaudio.functional.resample``, which the published protocol names, to the bit where one
convolution makes them. That library has had its last release, and loads with one release of torch alone.
"""

from __future__ import annotations

import functools
import math
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.audio.interpolation import Interpolator, Kernel
from codec.errors import CodecError
from codec.precision import full_float32
from codec.tensors import check_float

_MAX_TAPS = 1 << 20  # of the table of kernels; its size is the product of the reduced rates
_PLAIN = Kernel()
_SHARP = Kernel(64, 0.9475937167399596, "sinc_interp_kaiser", 14.769656459379492)


def resample(audio: Tensor, from_rate: int, to_rate: int, kernel: Kernel = _PLAIN) -> Tensor:
    """Resample (..., T) to (..., ceil(T * to_rate / from_rate)) with a windowed sinc.

    Args:
        audio: float, on any device.
        from_rate: Hz.
        to_rate: Hz.
        kernel: the windowed sinc.

    Raises:
        CodecError: a rate that is no positive whole number, or audio that is no tensor of floats.
    """
    _check_rates(from_rate, to_rate)
    check_float(audio, "audio")
    if from_rate == to_rate:
        return audio
    if not _has_table(from_rate, to_rate):
        interpolator = Interpolator(from_rate, to_rate, kernel)
        return torch.cat([interpolator.push(audio), interpolator.finish()], dim=-1)
    step, made = _reduced(from_rate, to_rate)
    margin = kernel.margin(step, made)
    T = resampled_length(audio.shape[-1], from_rate, to_rate)
    return _convolve(F.pad(audio, (margin, margin + step)), step, made, kernel)[..., :T]


def resample_sharply(audio: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """:func:`resample` with a kernel ten times as long, for narrow bands that are to stay narrow.

    Next to half of the lower rate the short kernel lets a mirror image of the speech through: after 8 kHz and back
    there is something above 4 kHz, which PESQ-WB takes for bandwidth (0.1 for Codec 2 at 3200 bit/s).

    Raises:
        CodecError: what :func:`resample` raises.
    """
    return resample(audio, from_rate, to_rate, _SHARP)


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
        self._step, self._made = _reduced(from_rate, to_rate)
        self._taken = self._given = 0
        self._interpolator = None
        if not _has_table(from_rate, to_rate):
            self._interpolator = Interpolator(from_rate, to_rate)
        elif from_rate != to_rate:
            self._margin = _PLAIN.margin(self._step, self._made)
            self._held = torch.zeros(self._margin, dtype=torch.float32)  # silence before the first, as in one pass

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
            return torch.zeros(0, dtype=torch.float32)
        missing = resampled_length(self._taken, self.from_rate, self.to_rate) - self._given
        return self._advance(self._held.new_zeros(self._margin + self._step))[:missing]

    def _advance(self, block: Tensor) -> Tensor:
        held = torch.cat([self._held, block])
        steps = max(0, (len(held) - 2 * self._margin) // self._step)  # that have all the samples which they weigh
        if steps == 0:
            self._held = held
            return held[:0]
        made = _convolve(held[: steps * self._step + 2 * self._margin], self._step, self._made, _PLAIN)
        self._held = held[steps * self._step :].clone()  # a view would keep the whole block
        self._given += steps * self._made
        return made


def _check_rates(from_rate: int, to_rate: int) -> None:
    for rate in (from_rate, to_rate):
        if not isinstance(rate, Integral) or rate <= 0:
            raise CodecError(
                f"cannot resample {from_rate} Hz to {to_rate} Hz; give rates that are positive whole numbers"
            )


def _reduced(from_rate: int, to_rate: int) -> tuple[int, int]:
    """So many inputs make so many outputs."""
    divisor = math.gcd(from_rate, to_rate)
    return from_rate // divisor, to_rate // divisor


@functools.lru_cache(maxsize=8)
def _table(step: int, made: int, kernel: Kernel, dtype: torch.dtype) -> Tensor:
    """(made, 1, taps): what samples from ``margin`` before a step on weigh in each of its outputs."""
    margin = kernel.margin(step, made)
    # It is kept: whoever is first may be in inference mode or elsewhere, a later one may want gradients.
    with torch.inference_mode(False), torch.device("cpu"):
        samples = torch.arange(-margin, margin + step, dtype=dtype)
        outputs = torch.arange(made, dtype=dtype).unsqueeze(1)
        return kernel.weights(samples / step - outputs / made, step, made).unsqueeze(1)


def _convolve(audio: Tensor, step: int, made: int, kernel: Kernel) -> Tensor:
    """(..., margin + T + margin) -> (..., T // step * made)."""
    rows = audio.reshape(-1, 1, audio.shape[-1])
    table = _table(step, made, kernel, rows.dtype).to(rows.device)
    with torch.autocast(audio.device.type, enabled=False), full_float32():  # tokens depend on it
        resampled = F.conv1d(rows, table, stride=step)  # (N, made, steps)
    return resampled.transpose(1, 2).reshape(*audio.shape[:-1], -1)


def _has_table(from_rate: int, to_rate: int) -> bool:
    """Whether the rates share a divisor by which all kernels can be held."""
    return math.prod(_reduced(from_rate, to_rate)) <= _MAX_TAPS
