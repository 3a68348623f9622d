"""Settings that shape the network."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from codec.config.base import NonNegative, Positive, PositiveFloat, Settings, Share, build
from codec.config.quantizers import AnyQuantizerConfig, SimVQConfig
from codec.config.rates import follow_hop
from codec.errors import CodecError


class TransformerConfig(Settings):
    """Causal transformer over frames, :mod:`codec.modules.transformer`; off with 0 layers, as published."""

    layers: NonNegative = 0
    heads: Positive = 8
    window: Positive = 250  # frames that a frame sees in a layer, itself included: 3.3 s at 75 frames a second
    expand: Positive = 4  # hidden width over width


class EncoderConfig(Settings):
    """SEANet encoder (EnCodec, arXiv 2210.13438), defaults as published for SimVQ."""

    channels: Positive = 32  # after the first convolution; doubled at every stride
    strides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (2, 4, 5, 8)  # in the order they are applied
    # Of the first convolution. The layers at full rate are most of a CPU's step; a stem that strides leaves them out.
    stem_stride: Positive = 1
    kernel_size: Positive = 7
    residual_kernel_size: Positive = 3
    residual_layers: NonNegative = 1
    compress: Positive = 2  # residual blocks narrow to channels / compress
    lstm_layers: NonNegative = 2
    transformer: TransformerConfig = TransformerConfig()  # behind the LSTM
    last_kernel_size: Positive = 7
    latent_dim: Positive = 512
    causal: bool = True
    # None: PyTorch's defaults, as published; each convolution then shrinks the signal, and its first latents are almost
    # constant. A number: He-normal weights with this gain and no biases; 1.2 to 1.4 keep the signal's size.
    init_gain: PositiveFloat | None = None
    # Latents of length 1, as long as the rows of C. Free latents grow while they train, and W, which moves by the
    # learning rate, cannot follow.
    unit_norm: bool = False

    @model_validator(mode="after")
    def _residual_units_have_channels(self) -> Self:
        if self.channels < self.compress:
            raise ValueError(f"encoder.channels={self.channels} must be at least encoder.compress={self.compress}")
        return self

    @model_validator(mode="after")
    def _heads_share_the_channels(self) -> Self:
        width = self.channels * 2 ** len(self.strides)
        if self.transformer.layers and width % self.transformer.heads:
            raise ValueError(
                f"encoder.transformer.heads={self.transformer.heads} must divide the {width} channels behind the last "
                "stride (encoder.channels, doubled at each of encoder.strides)"
            )
        return self


class DecoderConfig(Settings):
    """Vocos backbone with WavTokenizer's residual and attention blocks, and an inverse-STFT head."""

    dim: Positive = 768
    hidden_dim: Positive = 2304
    layers: NonNegative = 12  # ConvNeXt blocks
    residual_blocks: NonNegative = 2  # before and again after the attention block
    attention: bool = True
    group_norm_groups: Positive = 32
    dropout: Share = 0.1
    n_fft: Positive = 1280


class ModelConfig(Settings):
    """Everything that shapes the network; saved as ``config.json`` beside the weights."""

    sample_rate: Positive = 24_000
    encoder: EncoderConfig = EncoderConfig()
    quantizer: AnyQuantizerConfig = SimVQConfig()
    decoder: DecoderConfig = DecoderConfig()

    @property
    def hop_length(self) -> int:
        """Samples a token stands for."""
        return math.prod((self.encoder.stem_stride, *self.encoder.strides))

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The inverse STFT's window follows from the strides."""
        defaults = EncoderConfig()
        return follow_hop(data, defaults.strides, defaults.stem_stride)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        n_fft, hop = self.decoder.n_fft, self.hop_length
        if n_fft % hop or n_fft % 2 or n_fft == hop:  # windows that do not overlap are 0 where they meet
            raise ValueError(
                f"decoder.n_fft={n_fft} must be a multiple of the hop {hop} (the product of encoder.strides and "
                f"stem_stride), at least twice it, and even; try {4 * hop}"
            )
        if self.decoder.dim % self.decoder.group_norm_groups or self.decoder.dim == self.decoder.group_norm_groups:
            # With one channel a group, a single frame would have nothing to normalise over.
            raise ValueError(
                f"decoder.dim={self.decoder.dim} must be a multiple of decoder.group_norm_groups="
                f"{self.decoder.group_norm_groups}, at least twice it"
            )
        return self


PRESETS: dict[str, dict[str, Any]] = {
    # Exactly the published sizes: 71,952,898 trainable parameters.
    "reference": {},
    # A few million parameters. The high-rate layers are two thirds of a CPU step, so the wide strides come first.
    "tiny": {
        "encoder": {
            "channels": 16,
            "strides": [8, 5, 4, 2],
            "latent_dim": 128,
            "lstm_layers": 1,
            "init_gain": 1.3,
            "unit_norm": True,
        },
        "decoder": {"dim": 192, "hidden_dim": 576, "layers": 6, "residual_blocks": 1, "dropout": 0.0},
    },
}


def preset(name: str) -> ModelConfig:
    """Sizes of a named model: ``reference`` or ``tiny``."""
    return build(ModelConfig, preset_sizes(name), f"preset {name}")


def preset_sizes(name: Any) -> dict[str, Any]:
    """Plain settings of a named model, to be built on."""
    if not isinstance(name, str) or name not in PRESETS:
        raise CodecError(f"model.preset={name!r} is not known; presets are {', '.join(PRESETS)}")
    return PRESETS[name]
