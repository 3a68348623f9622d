"""SEANet encoder: waveform to latents (EnCodec, arXiv 2210.13438; SimVQ uses it causal).

Every part has two ways to run: ``forward`` on a whole signal, and ``step`` on one that comes in chunks, with a state
that holds what later outputs still need. Over all chunks the outputs of ``step`` are those of ``forward`` up to
rounding, start and end included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import EncoderConfig
from codec.modules.conv import Conv1d, Conv1dState
from codec.modules.transformer import BlockState, CausalTransformer


@dataclass
class ResidualUnitState:
    """Of both branches, and the shortcut's outputs that the slower block has not reached yet."""

    block: list[Conv1dState]
    shortcut: Conv1dState = field(default_factory=Conv1dState)
    waiting: Tensor | None = None  # (B, C, n)


class ResidualUnit(nn.Module):
    """ELU, conv k, ELU, conv 1 through a narrow middle, beside a 1x1 shortcut. Shape-preserving."""

    def __init__(self, channels: int, kernel_size: int, compress: int, *, causal: bool) -> None:
        super().__init__()
        hidden = channels // compress
        self.block = nn.Sequential(
            nn.ELU(),
            Conv1d(channels, hidden, kernel_size, causal=causal),
            nn.ELU(),
            Conv1d(hidden, channels, 1, causal=causal),
        )
        self.shortcut = Conv1d(channels, channels, 1, causal=causal)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, C, T). ``lengths``: as of :class:`Conv1d`."""
        shortcut = self.shortcut(x, lengths)
        for layer in self.block:
            x = layer(x, lengths) if isinstance(layer, Conv1d) else layer(x)
        return shortcut + x

    def initial_state(self) -> ResidualUnitState:
        """Before the first chunk."""
        return ResidualUnitState([Conv1dState() for layer in self.block if isinstance(layer, Conv1d)])

    def step(self, x: Tensor, state: ResidualUnitState, *, last: bool = False) -> Tensor:
        """(B, C, n) -> (B, C, m): the outputs that these inputs complete."""
        shortcut = self.shortcut.step(x, state.shortcut, last=last)
        if state.waiting is not None:
            shortcut = torch.cat([state.waiting, shortcut], dim=-1)
        states = iter(state.block)
        for layer in self.block:
            x = layer.step(x, next(states), last=last) if isinstance(layer, Conv1d) else layer(x)
        m = x.shape[-1]
        state.waiting = shortcut[..., m:].clone()
        return shortcut[..., :m] + x


@dataclass
class StageState:
    """Of the residual units and of the strided convolution."""

    units: list[ResidualUnitState]
    downsample: Conv1dState = field(default_factory=Conv1dState)


class Stage(nn.Module):
    """Residual units, then a strided convolution that doubles the channels."""

    def __init__(self, channels: int, stride: int, config: EncoderConfig) -> None:
        super().__init__()
        self.units = nn.Sequential(
            *(
                ResidualUnit(channels, config.residual_kernel_size, config.compress, causal=config.causal)
                for _ in range(config.residual_layers)
            )
        )
        self.activation = nn.ELU()
        self.downsample = Conv1d(channels, 2 * channels, 2 * stride, stride, causal=config.causal)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, 2C, ceil(T / stride)). ``lengths``: as of :class:`Conv1d`."""
        for unit in self.units:
            x = unit(x, lengths)
        return self.downsample(self.activation(x), lengths)

    def initial_state(self) -> StageState:
        """Before the first chunk."""
        return StageState([unit.initial_state() for unit in self.units if isinstance(unit, ResidualUnit)])

    def step(self, x: Tensor, state: StageState, *, last: bool = False) -> Tensor:
        """(B, C, n) -> (B, 2C, m): the outputs that these inputs complete."""
        for unit, unit_state in zip(self.units, state.units, strict=True):
            assert isinstance(unit, ResidualUnit)
            x = unit.step(x, unit_state, last=last)
        return self.downsample.step(self.activation(x), state.downsample, last=last)


@dataclass
class LSTMState:
    """Hidden and cell state of all layers, (layers, B, C) each; None before the first frame."""

    memory: tuple[Tensor, Tensor] | None = None


class ResidualLSTM(nn.Module):
    """Unidirectional LSTM over frames, added to its input."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F) -> (B, C, F)."""
        return self.step(x, LSTMState())

    def step(self, x: Tensor, state: LSTMState) -> Tensor:
        """(B, C, n) -> (B, C, n), n from 0 on; every input completes its own output."""
        if x.shape[-1] == 0:  # the LSTM takes no empty sequence
            return x
        out, state.memory = self.lstm(x.transpose(1, 2), state.memory)
        return x + out.transpose(1, 2)


@dataclass
class EncoderState:
    """Of every part of the encoder."""

    stages: list[StageState]
    stem: Conv1dState = field(default_factory=Conv1dState)
    lstm: LSTMState = field(default_factory=LSTMState)
    transformer: list[BlockState] = field(default_factory=list)
    out: Conv1dState = field(default_factory=Conv1dState)


class SEANetEncoder(nn.Module):
    """(B, 1, T) -> (B, latent_dim, ceil(T / hop)), hop being the product of all strides.

    Zero right-padding by whole hops leaves the earlier frames bit-identical when causal. Left reflect padding lets the
    first frames see up to about 0.1 s ahead (reference sizes: 2,239 samples).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels = config.channels
        kernel_size = max(
            config.kernel_size, 2 * config.stem_stride
        )  # twice the stride, as of the other strided layers
        self.stem = Conv1d(1, channels, kernel_size, config.stem_stride, causal=config.causal)
        self.hop_length = math.prod((config.stem_stride, *config.strides))  # samples a latent stands for
        stages = []
        for stride in config.strides:
            stages.append(Stage(channels, stride, config))
            channels *= 2
        self.stages = nn.Sequential(*stages)
        self.lstm = ResidualLSTM(channels, config.lstm_layers) if config.lstm_layers else nn.Identity()
        layers = config.transformer.layers
        self.transformer = CausalTransformer(channels, config.transformer) if layers else nn.Identity()
        self.activation = nn.ELU()
        self.out = Conv1d(channels, config.latent_dim, config.last_kernel_size, causal=config.causal)
        self.unit_norm = config.unit_norm
        if config.init_gain is not None:
            for module in self.modules():
                if isinstance(module, nn.Conv1d):
                    _init_with_gain(module, config.init_gain)

    def forward(self, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, 1, T) -> (B, D, F).

        Args:
            audio: the signals.
            lengths: (B,) samples of each row that are its own, on the CPU, where the rows of a batch differ. The
                latents of a row's own frames are then those of the row alone up to rounding, whatever follows it;
                those behind mean nothing. None: all.
        """
        x = self.stem(audio, lengths)
        if lengths is not None:
            lengths = -(-lengths // self.stem.stride)
        for stage in self.stages:
            assert isinstance(stage, Stage)
            x = stage(x, lengths)
            if lengths is not None:
                lengths = -(-lengths // stage.downsample.stride)
        latent = self.out(self.activation(self.transformer(self.lstm(x))), lengths)
        return F.normalize(latent, dim=1) if self.unit_norm else latent

    def initial_state(self) -> EncoderState:
        """Before the first chunk."""
        state = EncoderState([stage.initial_state() for stage in self.stages if isinstance(stage, Stage)])
        if isinstance(self.transformer, CausalTransformer):
            state.transformer = self.transformer.initial_state()
        return state

    def step(self, audio: Tensor, state: EncoderState, *, last: bool = False) -> Tensor:
        """(B, 1, n) -> (B, D, m): the latents that these samples complete. With ``last``, all that are left.

        A causal encoder gives the first latents when it has seen the start-up padding's samples (reference sizes:
        2,240), and from then on one for each whole hop. Any other lags by what its layers see ahead.
        """
        x = self.stem.step(audio, state.stem, last=last)
        for stage, stage_state in zip(self.stages, state.stages, strict=True):
            assert isinstance(stage, Stage)
            x = stage.step(x, stage_state, last=last)
        if isinstance(self.lstm, ResidualLSTM):
            x = self.lstm.step(x, state.lstm)
        if isinstance(self.transformer, CausalTransformer):
            x = self.transformer.step(x, state.transformer)
        latent = self.out.step(self.activation(x), state.out, last=last)
        return F.normalize(latent, dim=1) if self.unit_norm else latent


@torch.no_grad()
def _init_with_gain(conv: nn.Conv1d, gain: float) -> None:
    inputs = conv.weight[0].numel()  # that a single output sums over
    conv.weight = torch.randn_like(conv.weight) * gain / math.sqrt(inputs)  # through the weight norm
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
