"""Strided 1-D convolution with reflect padding that gives exactly ceil(T / stride) outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


@dataclass
class Conv1dState:
    """What a convolution keeps of a signal that comes in chunks."""

    held: Tensor | None = None  # (B, C_in, n): the last inputs, behind the left padding once that is known
    first: int = 0  # column of ``held`` where the next window begins
    started: bool = False  # the left padding, which reflects the first inputs, is known
    num_inputs: int = 0


class Conv1d(nn.Module):
    """Weight-normalised convolution, causal or centred (EnCodec's ``SConv1d``, arXiv 2210.13438).

    (B, C_in, T) -> (B, C_out, ceil(T / stride)). Causal: all of the fixed padding stands on the left, and only what is
    missing to a whole last stride on the right. Both sides are reflected, so the first outputs of a causal layer see a
    few samples ahead; this is how the published model was trained.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, causal: bool = True
    ) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv1d(in_channels, out_channels, kernel_size, stride))
        self.kernel_size, self.stride = kernel_size, stride
        fixed = kernel_size - stride
        self.pad_right = 0 if causal else fixed // 2
        self.pad_left = fixed - self.pad_right

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C_in, T) -> (B, C_out, ceil(T / stride)).

        Args:
            x: the signals.
            lengths: (B,) columns of each row that are its own, on the CPU, where the rows of a batch differ. The first
                ceil(length / stride) outputs of a row are then those of the row alone; what follows means nothing.
        """
        if lengths is not None:
            x = self._complete_rows(x, lengths)
            outputs = -(-int(lengths.max()) // self.stride)
            return self._convolve(F.pad(x, (self.pad_left, 0), mode="reflect"))[..., :outputs]
        to_whole_stride = -x.shape[-1] % self.stride
        return self._convolve(pad_reflect(x, self.pad_left, self.pad_right + to_whole_stride))

    def _convolve(self, x: Tensor) -> Tensor:
        """The convolution itself, under the caller's autocast where that can be trusted.

        On processors with AMX, torch 2.11 gives wrong bfloat16 outputs (relative error above 1) for strides of 4 and
        more with fewer than 32 input channels; float32 there costs little, since such layers are narrow.
        """
        few_channels = self.conv.in_channels < 32 and self.stride >= 4
        if few_channels and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self.conv(x.float())
        return self.conv(x)

    def _complete_rows(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Put behind each row's own columns the zeros and the reflection that :func:`pad_reflect` would put there."""
        B, C, _ = x.shape
        own = lengths.view(B, 1)
        right = self.pad_right + -own % self.stride
        extended = own.maximum(right.clamp(min=self.pad_left) + 1)  # by zeros, where a row is shorter than its padding
        count = int((right + extended - own).max())
        if not count:
            return x
        columns = own + torch.arange(count, device=own.device)  # (B, count)
        sources = torch.where(columns < extended, columns, 2 * (extended - 1) - columns)
        real = ((sources >= 0) & (sources < own)).unsqueeze(1).to(x.device)
        columns, sources = (
            index.unsqueeze(1).expand(B, C, count).to(x.device) for index in (columns, sources.clamp(min=0))
        )
        x = F.pad(x, (0, max(0, int(lengths.max()) + count - x.shape[-1])))
        return x.scatter(-1, columns, x.gather(-1, sources) * real)

    def step(self, x: Tensor, state: Conv1dState, *, last: bool = False) -> Tensor:
        """The outputs that the next inputs complete; over all chunks, those of :meth:`forward` on the whole signal.

        Args:
            x: (B, C_in, n) of any n, 0 included.
            state: of this signal; changed.
            last: nothing follows. The signal must not be empty.

        Returns:
            (B, C_out, m), m from 0 on.
        """
        held = x if state.held is None else torch.cat([state.held, x], dim=-1)
        state.num_inputs += x.shape[-1]
        to_whole_stride = -state.num_inputs % self.stride
        if not state.started:
            # Both reflections need inputs beside them. A signal that ends before it has so many is done in one pass.
            if held.shape[-1] <= max(self.pad_left, self.pad_right + self.stride - 1):
                state.held = held
                return self(held) if last else self._nothing(held)
            held = pad_reflect(held, self.pad_left, 0)
            state.started = True
        if last:
            right = self.pad_right + to_whole_stride
            held = torch.cat([held, held[..., held.shape[-1] - right - 1 : -1].flip(-1)], dim=-1)
        windows = max(0, (held.shape[-1] - state.first - self.kernel_size) // self.stride + 1)
        after = state.first + windows * self.stride
        stop = after + self.kernel_size - self.stride
        out = self._convolve(held[..., state.first : stop]) if windows else self._nothing(held)
        # The reflection at the end reaches back further than the next window where the kernel is shorter than that.
        dropped = max(0, min(after, held.shape[-1] - self.pad_right - self.stride))
        # A copy: a view would keep the whole chunk alive.
        state.held, state.first = held[..., dropped:].clone(), after - dropped
        return out

    def _nothing(self, x: Tensor) -> Tensor:
        return x.new_empty(x.shape[0], self.conv.out_channels, 0)


def pad_reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Reflect-pad the last axis; an input shorter than the padding is extended by zeros first."""
    missing = max(left, right) - x.shape[-1] + 1
    if missing <= 0:
        return _reflect(x, left, right)
    padded = _reflect(F.pad(x, (0, missing)), left, right)
    return padded[..., : padded.shape[-1] - missing]


def _reflect(x: Tensor, left: int, right: int) -> Tensor:
    if not left and not right:  # else it would be copied, and its gradient added into zeros
        return x
    if not x.requires_grad:
        return F.pad(x, (left, right), mode="reflect")
    return cast(Tensor, _Reflection.apply(x, left, right))


class _Reflection(torch.autograd.Function):
    """Reflected edges whose gradient is one copy of what lies between them; torch adds all of it up into zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, left: int, right: int) -> Tensor:
        ctx.left, ctx.right = left, right
        return F.pad(x, (left, right), mode="reflect")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (padded,), left, right = gradients, ctx.left, ctx.right
        stop = padded.shape[-1] - right
        inner = padded[..., left:stop].clone(memory_format=torch.contiguous_format)
        T = inner.shape[-1]
        if left:
            inner[..., 1 : left + 1] += padded[..., :left].flip(-1)
        if right:
            inner[..., T - 1 - right : T - 1] += padded[..., stop:].flip(-1)
        return inner, None, None
