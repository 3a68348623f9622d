"""The encoder as it is run, not trained: weights folded, frames before channels, in pieces that stay in the cache."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.inference.lstm import LEAST_FRAMES, RUN_UPS, LSTMInLanes, State, run_up_of
from codec.modules.conv import Conv1d, Conv1dState
from codec.modules.seanet import EncoderState, ResidualLSTM, ResidualUnit, SEANetEncoder, Stage
from codec.modules.transformer import CausalTransformer

# On a CPU the layers take a signal in pieces, of so many samples of all rows together and per thread. The first stages
# have much data, which is to stay in the cache, and few weights; the others prepare large weights at each call.
EARLY_PIECE = 16_000
LATE_PIECE = 64_000
HALVES_WEIGHTS = 1_000_000  # of a convolution with so many, two matrix products take less time
LEAST_HOPS = 16  # a signal of fewer hops is left to the plain modules, which pad what is shorter than its padding


class _Conv(NamedTuple):
    """A causal convolution with its weight norm folded in."""

    kernel: Tensor  # (C_out, C_in, 1, k), channels last
    bias: Tensor | None
    stride: int

    @property
    def overlap(self) -> int:
        """Columns that two pieces share; also the left padding."""
        return self.kernel.shape[-1] - self.stride

    def __call__(self, x: Tensor) -> Tensor:
        """(B, T, C_in) -> (B, T', C_out), no padding."""
        columns = x.transpose(1, 2).unsqueeze(2)  # (B, C, 1, T) in channels-last memory: nothing is copied
        return F.conv2d(columns, self.kernel, self.bias, (1, self.stride)).squeeze(2).transpose(1, 2)


class _Halves(NamedTuple):
    """A :class:`_Conv` with a kernel of two strides, as two matrix products of whole strides.

    For many weights: the library's convolution brings them into its own order at every call.
    """

    halves: tuple[Tensor, Tensor]  # (stride * C_in, C_out) each
    bias: Tensor
    stride: int

    @property
    def overlap(self) -> int:
        return self.stride

    def __call__(self, x: Tensor) -> Tensor:
        strides = x.unflatten(1, (-1, self.stride)).flatten(2)  # (B, T / stride, stride * C_in): a view
        out = x.new_empty(len(x), strides.shape[1] - 1, len(self.bias))
        for row, of_row in zip(strides, out, strict=True):
            torch.addmm(self.bias, row[:-1], self.halves[0], out=of_row).addmm_(row[1:], self.halves[1])
        return out


Strided = _Conv | _Halves


class _Unit(NamedTuple):
    """A residual unit: the narrow convolution, and both 1x1 layers, whose sum needs one bias."""

    narrow: _Conv
    widen: Tensor  # (C / compress, C)
    shortcut: Tensor  # (C, C), as of nn.Linear
    bias: Tensor


class _Stage(NamedTuple):
    units: list[_Unit]
    downsample: Strided


class PreparedEncoder:
    """:class:`SEANetEncoder` without gradient, for whole signals and for whole hops of one; causal ones only.

    The outputs are the module's up to rounding. Between the layers everything is (B, T, C): then a convolution needs no
    copies around it, and the 1x1 ones are plain matrix products. Always float32: half precision would change tokens,
    and torch 2.11 computes a bfloat16 convolution of 16 channels with kernel 16 and stride 8 wrongly on CPUs with AMX.

    Args:
        encoder: whose weights are copied, but for the LSTM's, of which those for one pass are used as they are.
    """

    def __init__(self, encoder: SEANetEncoder) -> None:
        assert self.takes(encoder)
        self.stages = []
        self.stem = _fold(encoder.stem)
        self.hop_length = encoder.hop_length
        for stage in encoder.stages:
            assert isinstance(stage, Stage)
            units = [_fold_unit(unit) for unit in stage.units if isinstance(unit, ResidualUnit)]
            downsample = _fold(stage.downsample)
            self.stages.append(_Stage(units, _halves(downsample) or downsample))
        self.lstm = encoder.lstm.lstm if isinstance(encoder.lstm, ResidualLSTM) else None
        self.transformer = encoder.transformer
        self.out = _fold(encoder.out)
        self.unit_norm = encoder.unit_norm

    @staticmethod
    def takes(encoder: SEANetEncoder) -> bool:
        """Whether this form exists for the encoder: no layer may look ahead."""
        return all(layer.pad_right == 0 for layer in encoder.modules() if isinstance(layer, Conv1d))

    def takes_signal(self, audio: Tensor) -> bool:
        """Whether (B, 1, T) is long enough."""
        return audio.shape[-1] >= LEAST_HOPS * self.hop_length

    def __call__(self, audio: Tensor) -> Tensor:
        """(B, 1, T) -> (B, D, ceil(T / hop))."""
        x = self._frames(audio, self._nothing_held(), ends=True)
        x = self._recur(x, None)[0]
        x = self.transformer(x.transpose(1, 2)).transpose(1, 2)
        return self._latent(_reflected(F.elu(x), self.out.overlap))

    def continues(self, state: EncoderState) -> bool:
        """Whether :meth:`step` can go on from here: every layer has begun, and the last hop is complete."""
        return state.out.started and state.stem.num_inputs % self.hop_length == 0

    def step(self, audio: Tensor, state: EncoderState) -> Tensor:
        """``encoder.step(audio, state)`` of whole hops, from a state that it :meth:`continues`; changes the state.

        (B, 1, n * hop) -> (B, D, n), n from ``LEAST_HOPS`` on.
        """
        hops, rest = divmod(audio.shape[-1], self.hop_length)
        assert self.continues(state) and rest == 0 and hops >= LEAST_HOPS
        # Each with its inputs a hop.
        layers: list[tuple[Conv1dState, Strided, int]] = [(state.stem, self.stem, self.hop_length)]
        columns_per_hop = self.hop_length // self.stem.stride
        for stage, of_stage in zip(self.stages, state.stages, strict=True):
            for unit, of_unit in zip(stage.units, of_stage.units, strict=True):
                layers.append((of_unit.block[0], unit.narrow, columns_per_hop))
            layers.append((of_stage.downsample, stage.downsample, columns_per_hop))
            columns_per_hop //= stage.downsample.stride
        held: list[Tensor | None] = [_held(of_layer, conv) for of_layer, conv, _ in layers]
        x = self._frames(audio, held, ends=False)
        for (of_layer, _, columns), kept in zip(layers, held, strict=True):
            _hold(of_layer, kept, hops * columns)
        x, state.lstm.memory = self._recur(x, state.lstm.memory)
        if isinstance(self.transformer, CausalTransformer):
            x = self.transformer.step(x.transpose(1, 2), state.transformer).transpose(1, 2)
        joined = torch.cat([_held(state.out, self.out), F.elu(x)], dim=1)
        _hold(state.out, joined[:, joined.shape[1] - self.out.overlap :].clone(), hops)
        return self._latent(joined)

    def _frames(self, audio: Tensor, held: list[Tensor | None], *, ends: bool) -> Tensor:
        """Everything before the LSTM, (B, 1, T) -> (B, F, C)."""
        signal = audio.transpose(1, 2)  # (B, T, 1)
        pieces = _cut(signal, self._piece_size(signal, LATE_PIECE))
        ended = [ends and number == len(pieces) - 1 for number in range(len(pieces))]
        return torch.cat([self._front(*piece, held) for piece in zip(pieces, ended, strict=True)], dim=1)

    @cached_property
    def run_up(self) -> int | None:
        """Frames in which the LSTM forgets what was before; None: it does not, and is run in one pass.

        Found out once, of noise, so that what comes out for a signal does not depend on those before it.
        """
        if self.lstm is None:
            return None
        samples = max(*RUN_UPS, LEAST_HOPS) * self.hop_length
        generator = torch.Generator("cpu").manual_seed(0)
        noise = 0.1 * torch.randn(1, 1, samples, generator=generator, device="cpu")
        return run_up_of(self.lstm, self._frames(noise.to(self.stem.kernel), self._nothing_held(), ends=True))

    @cached_property
    def in_lanes(self) -> LSTMInLanes:
        """The LSTM for sequences that are long enough, with weights of its own."""
        assert self.lstm is not None
        return LSTMInLanes(self.lstm)

    def _nothing_held(self) -> list[Tensor | None]:
        return [None] * (1 + sum(len(stage.units) + 1 for stage in self.stages))

    def _recur(self, x: Tensor, memory: State | None) -> tuple[Tensor, State | None]:
        """The residual LSTM over (B, F, C), and its memory at the end."""
        if self.lstm is None:
            return x, None
        alone = x.device.type == "cpu" and len(x) == 1 and x.shape[1] >= LEAST_FRAMES
        if alone and self.run_up is not None:
            out, memory = self.in_lanes(x, self.run_up, memory)
        else:
            out, memory = self.lstm(x, memory)
        return x + out, memory

    def _latent(self, x: Tensor) -> Tensor:
        """(B, overlap + F, C) -> (B, D, F)."""
        latent = self.out(x).transpose(1, 2)
        return F.normalize(latent, dim=1) if self.unit_norm else latent

    def _piece_size(self, signal: Tensor, samples: int) -> int:
        if signal.device.type != "cpu":  # one launch each
            return signal.shape[1]
        hops = max(LEAST_HOPS, samples * torch.get_num_threads() // (len(signal) * self.hop_length))
        return hops * self.hop_length

    def _front(self, signal: Tensor, last: bool, held: list[Tensor | None]) -> Tensor:
        """Everything before the LSTM, of one piece: (B, n, 1) -> (B, n / hop, C).

        ``last``: this piece is the signal's end. ``held``: what convolutions took in last, of the piece before.
        """
        half = len(self.stages) // 2
        parts = []
        pieces = _cut(signal, self._piece_size(signal, EARLY_PIECE))
        for number, piece in enumerate(pieces):
            ends = last and number == len(pieces) - 1
            joined = _joined(piece, held, 0, self.stem, last=ends, active=False).squeeze(-1)
            windows = joined.unfold(1, self.stem.kernel.shape[-1], self.stem.stride)
            x = F.linear(windows, self.stem.kernel[:, 0, 0], self.stem.bias)
            parts.append(_through(self.stages[:half], x, held, 1, last=ends))
        place = 1 + sum(len(stage.units) + 1 for stage in self.stages[:half])
        return _through(self.stages[half:], torch.cat(parts, dim=1), held, place, last=last)


def _through(stages: list[_Stage], x: Tensor, held: list[Tensor | None], place: int, *, last: bool) -> Tensor:
    """(B, n, C) -> (B, n / strides, C'); ``place``: of the first convolution in ``held``."""
    for stage in stages:
        for unit in stage.units:
            active = _joined(x, held, place, unit.narrow, last=last)
            hidden = unit.narrow(active)
            hidden = _elu(hidden, torch.empty_like(hidden))
            sums = F.linear(x, unit.shortcut, unit.bias)
            x = sums.flatten(0, 1).addmm_(hidden.flatten(0, 1), unit.widen).view(sums.shape)
            place += 1
        x = stage.downsample(_joined(x, held, place, stage.downsample, last=last))
        place += 1
    return x


def _elu(x: Tensor, out: Tensor) -> Tensor:
    """ELU in half of ``F.elu``'s time on a CPU: where x > 0, exp(min(x, 0)) - 1 is 0 and x the larger."""
    torch.clamp(x, max=0, out=out).exp_().sub_(1)
    return torch.maximum(x, out, out=out)


def _joined(
    x: Tensor, held: list[Tensor | None], place: int, conv: Strided, *, last: bool, active: bool = True
) -> Tensor:
    """A copy of (B, n, C) behind what the convolution still needs of the piece before; at the end padded as it pads.

    ``active``: ELU lies before the convolution; what is held has been through it.
    """
    B, columns, channels = x.shape
    overlap = conv.overlap
    missing = -columns % conv.stride if last else 0
    own = overlap + columns
    joined = x.new_empty(B, own + missing, channels)
    copy = joined[:, overlap:own]
    if active:
        _elu(x, copy)
    else:
        copy.copy_(x)
    before = held[place]
    joined[:, :overlap] = joined[:, overlap + 1 : 2 * overlap + 1].flip(1) if before is None else before
    if missing:
        joined[:, own:] = joined[:, own - missing - 1 : own - 1].flip(1)
    held[place] = joined[:, own - overlap : own].clone()
    return joined


def _held(state: Conv1dState, conv: Strided) -> Tensor:
    """What the module's convolution holds, as the prepared one does: (B, overlap, C)."""
    assert state.held is not None
    held = state.held[..., state.first :].transpose(1, 2)
    assert held.shape[1] == conv.overlap
    return held


def _hold(state: Conv1dState, held: Tensor | None, inputs: int) -> None:
    """The other way round, after so many more inputs: a whole number of strides."""
    assert held is not None
    state.held, state.first = held.transpose(1, 2), 0
    state.num_inputs += inputs


def _reflected(x: Tensor, left: int) -> Tensor:
    """(B, F, C) with ``left`` reflected frames before it; few frames are extended by zeros first."""
    extended = F.pad(x, (0, 0, 0, max(0, left + 1 - x.shape[1])))
    return torch.cat([extended[:, 1 : left + 1].flip(1), x], dim=1)


def _cut(signal: Tensor, size: int) -> list[Tensor]:
    """Pieces of ``size`` columns; the last one is longer, so that its end has something to reflect."""
    starts = range(0, max(1, signal.shape[1] // size) * size, size)
    stops = [*starts[1:], signal.shape[1]]
    return [signal[:, start:stop] for start, stop in zip(starts, stops, strict=True)]


def _fold(layer: Conv1d) -> _Conv:
    kernel = layer.conv.weight.detach().unsqueeze(2).contiguous(memory_format=torch.channels_last)
    bias = layer.conv.bias
    return _Conv(kernel, None if bias is None else bias.detach(), layer.stride)


def _halves(conv: _Conv) -> _Halves | None:
    """The same where it has that form and is faster in it."""
    kernel, bias, stride = conv
    if bias is None or kernel.shape[-1] != 2 * stride or kernel.numel() < HALVES_WEIGHTS:
        return None
    first, second = (half.permute(3, 1, 0, 2).flatten(2).flatten(0, 1) for half in kernel.split(stride, dim=-1))
    return _Halves((first.contiguous(), second.contiguous()), bias, stride)


def _fold_unit(unit: ResidualUnit) -> _Unit:
    narrow, widen = unit.block[1], unit.block[3]
    assert isinstance(narrow, Conv1d) and isinstance(widen, Conv1d)
    matrices = [layer.conv.weight.detach()[..., 0] for layer in (widen, unit.shortcut)]
    biases = [layer.conv.bias for layer in (widen, unit.shortcut)]
    assert biases[0] is not None and biases[1] is not None
    bias = biases[0].detach() + biases[1].detach()
    return _Unit(_fold(narrow), matrices[0].t().contiguous(), matrices[1].contiguous(), bias)
