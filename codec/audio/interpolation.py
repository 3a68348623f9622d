"""Resampling between rates without a useful common divisor: every output sample has a kernel of its own.

A table of all kernels would have as many entries as the product of the reduced rates; here those of some thousand
samples are computed at a time, from the same formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_AT_ONCE = 1 << 20  # products


@dataclass(frozen=True)
class Kernel:
    """A windowed sinc; names and defaults are those of ``torchaudio.functional.resample``."""

    lowpass_filter_width: int = 6  # zero crossings on each side
    rolloff: float = 0.99  # the band's end, in halves of the lower rate
    resampling_method: str = "sinc_interp_hann"  # or sinc_interp_kaiser
    beta: float = 14.769656459379492  # of the Kaiser window

    def margin(self, from_rate: int, to_rate: int) -> int:
        """Samples on each side that an output sample depends on."""
        return math.ceil(self.lowpass_filter_width * from_rate / (min(from_rate, to_rate) * self.rolloff))

    def weights(self, time_s: Tensor, from_rate: int, to_rate: int) -> Tensor:
        """What samples weigh that lie ``time_s`` from the output sample."""
        band = min(from_rate, to_rate) * self.rolloff  # Hz, twice the cut-off frequency
        width = self.lowpass_filter_width
        crossings = (time_s * band).clamp(-width, width)
        # In torchaudio's order of operations: in float32 another one gives other last bits, and PESQ 1e-5 else.
        if self.resampling_method == "sinc_interp_hann":
            window = torch.cos(crossings * math.pi / width / 2) ** 2
        else:
            place = crossings / width
            window = torch.i0(self.beta * (1 - place**2).sqrt()) / torch.i0(place.new_tensor(self.beta))
        angle = crossings * math.pi
        sinc = torch.where(angle == 0, 1.0, angle.sin() / angle)
        return sinc * (window * (band / from_rate))


class Interpolator:
    """Resamples blocks (..., T); together the outputs are those of the whole signal.

    What is held is as long as the kernel.
    """

    def __init__(self, from_rate: int, to_rate: int, kernel: Kernel | None = None) -> None:
        self._from, self._to, self._kernel = from_rate, to_rate, kernel or Kernel()
        self._margin = self._kernel.margin(from_rate, to_rate)
        self._held: Tensor | None = None
        self._first = -self._margin  # the place of the first sample that is held; silence before the signal
        self._taken = self._given = 0

    def push(self, block: Tensor) -> Tensor:
        """The outputs that these samples complete."""
        self._taken += block.shape[-1]
        self._hold(block)
        return self._advance(self._outputs(max(0, self._taken - self._margin - 1)))

    def finish(self) -> Tensor:
        """What is left; nothing may follow."""
        if self._held is None:
            return torch.zeros(0, dtype=torch.float32)
        self._hold(self._held.new_zeros(*self._held.shape[:-1], self._margin + 1))
        return self._advance(self._outputs(self._taken))

    def _hold(self, block: Tensor) -> None:
        self._held = F.pad(block, (self._margin, 0)) if self._held is None else torch.cat([self._held, block], dim=-1)

    def _outputs(self, num_samples: int) -> int:
        return -(-num_samples * self._to // self._from)

    def _advance(self, stop: int) -> Tensor:
        """Outputs up to ``stop``, of which all samples are held."""
        held = self._held
        assert held is not None
        taps = torch.arange(-self._margin, self._margin + 2)
        rows = max(1, held[..., 0].numel())
        step = max(1, _AT_ONCE // (rows * len(taps)))
        made = [held[..., :0]]
        for start in range(self._given, stop, step):
            at = torch.arange(start, min(start + step, stop)) * self._from  # in units of 1 / (from_rate * to_rate) s
            distance = taps * self._to - (at % self._to).unsqueeze(1)
            weights = self._kernel.weights(distance.double() / (self._from * self._to), self._from, self._to)
            samples = held[..., (at // self._to - self._first).unsqueeze(1).to(held.device) + taps.to(held.device)]
            made.append((samples * weights.to(held)).sum(dim=-1))
        self._given = max(self._given, stop)
        unused = self._given * self._from // self._to - self._margin - self._first
        self._held, self._first = held[..., unused:].clone(), self._first + unused  # a view would keep the whole block
        return torch.cat(made, dim=-1)
