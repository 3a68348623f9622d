"""Typed, strict settings.

One YAML file describes a training run. Every key is checked: an unknown one or a wrong type is an error that names the
key and the nearest known one. Settings come from, in rising priority: the defaults below (the published model and
objective), ``model.preset``, the file named by ``base``, the file itself, and ``section.key=value`` overrides.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from codec.errors import CodecError

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, strict, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class EncoderConfig(Settings):
    """SEANet encoder (EnCodec, arXiv 2210.13438), defaults as published for SimVQ."""

    channels: Positive = 32  # after the first convolution; doubled at every stride
    strides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (2, 4, 5, 8)  # in the order they are applied
    kernel_size: Positive = 7
    residual_kernel_size: Positive = 3
    residual_layers: NonNegative = 1
    compress: Positive = 2  # residual blocks narrow to channels / compress
    lstm_layers: NonNegative = 2
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


class QuantizerConfig(Settings):
    """SimVQ bottleneck (arXiv 2411.02038)."""

    name: Literal["simvq"] = "simvq"
    codebook_size: Positive = 4096
    commitment: NonNegativeFloat = 0.25  # beta: weight of the encoder's term against the codebook's
    trainable_codebook: bool = False  # train C beside W
    codebook_init: Literal["gaussian", "uniform"] = "gaussian"
    bias: bool = True
    search_chunk: Positive = 4096  # codes whose scores are held at once


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
    quantizer: QuantizerConfig = QuantizerConfig()
    decoder: DecoderConfig = DecoderConfig()

    @property
    def hop_length(self) -> int:
        """Samples a token stands for."""
        hop = 1
        for stride in self.encoder.strides:
            hop *= stride
        return hop

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.decoder.n_fft % self.hop_length or (self.decoder.n_fft - self.hop_length) % 2:
            raise ValueError(
                f"decoder.n_fft={self.decoder.n_fft} must be a multiple of the hop {self.hop_length} "
                f"(the product of encoder.strides) and differ from it by an even number; try {4 * self.hop_length}"
            )
        if self.decoder.dim % self.decoder.group_norm_groups or self.decoder.dim == self.decoder.group_norm_groups:
            # With one channel a group, a single frame would have nothing to normalise over.
            raise ValueError(
                f"decoder.dim={self.decoder.dim} must be a multiple of decoder.group_norm_groups="
                f"{self.decoder.group_norm_groups}, at least twice it"
            )
        return self


class DiscriminatorConfig(Settings):
    """The three published discriminator families. An empty list leaves a family (or its half) out."""

    periods: tuple[Positive, ...] = (2, 3, 5, 7, 11)
    period_channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 128, 512, 1024, 1024)
    resolutions: tuple[tuple[Positive, Positive, Positive], ...] = (  # n_fft, hop, window
        (1024, 256, 1024),
        (2048, 512, 2048),
        (512, 128, 512),
    )
    resolution_channels: Positive = 64
    dac_periods: tuple[Positive, ...] = (2, 3, 5, 7, 11)
    dac_period_channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 128, 512, 1024, 1024)
    dac_fft_sizes: tuple[Positive, ...] = (2048, 1024, 512)
    dac_channels: Positive = 32

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        for n_fft, _, window in self.resolutions:
            if window > n_fft:
                raise ValueError(
                    f"discriminators.resolutions: a window of {window} is longer than its n_fft of {n_fft}"
                )
        return self


class MelScale(Settings):
    """One resolution of the mel loss."""

    n_fft: Positive = 1024
    hop_length: Positive = 256
    n_mels: Positive = 100


class LossConfig(Settings):
    """Weights of the training objective; 0 computes a term for the log only. Defaults as published."""

    mel: NonNegativeFloat = 45.0
    commitment: NonNegativeFloat = 1000.0
    adversarial_period: NonNegativeFloat = 1.0
    adversarial_resolution: NonNegativeFloat = 1.0
    adversarial_dac: NonNegativeFloat = 1.0
    feature_period: NonNegativeFloat = 1.0
    feature_resolution: NonNegativeFloat = 1.0
    feature_dac: NonNegativeFloat = 1.0
    discriminator_period: NonNegativeFloat = 1.0
    discriminator_resolution: NonNegativeFloat = 1.0
    discriminator_dac: NonNegativeFloat = 1.0
    mel_scales: Annotated[tuple[MelScale, ...], Field(min_length=1)] = (MelScale(),)
    # Divide the commitment term by the variance that the latents have when the bottleneck comes in: the weight then
    # means the same for latents of any size. Following the variance all along would let them grow without end.
    normalize_commitment: bool = False


class DataConfig(Settings):
    """Manifests (JSON lines, :mod:`codec.manifest`) and how crops are cut from them."""

    train: Annotated[tuple[str, ...], Field(min_length=1)] = ("data/train.jsonl",)
    validation: tuple[str, ...] = ()
    batch_size: Positive = 128  # crops a step, over all processes together
    crop_s: PositiveFloat = 1.0
    gain_db: tuple[float, float] = (0.0, 0.0)  # uniform random gain of a crop
    validation_crop_s: PositiveFloat = 3.0
    validation_crops: Positive = 32
    workers: NonNegative = 2  # loader processes for each training process

    @model_validator(mode="after")
    def _gains_are_a_range(self) -> Self:
        if self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"data.gain_db={list(self.gain_db)}: expected the lower one first")
        return self


class OptimizerConfig(Settings):
    """Adam for both sides. ``schedule`` follows a linear warm-up over ``warmup_steps``."""

    lr: PositiveFloat = 1e-4
    discriminator_lr: PositiveFloat = 1e-4
    quantizer_lr: PositiveFloat | None = None  # None: as the rest; set: constant, without warm-up or decay
    betas: tuple[Share, Share] = (0.5, 0.9)
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: NonNegative = 0
    schedule: Literal["constant", "cosine"] = "constant"
    final_share: Share = 0.0  # of the rate, where the cosine ends
    clip_norm: PositiveFloat | None = None  # of the generator's and of the discriminators' gradient


class BottleneckWarmupConfig(Settings):
    """Train as a plain autoencoder first, then set W and b (or C) from the latents (arXiv 2605.06870)."""

    share: Share = 0.0  # of all steps
    init: Literal["covariance", "shrunk", "kmeans"] = "covariance"
    latents: Positive = 40_000  # at most this many for the statistics


class TrainingConfig(Settings):
    """The loop."""

    steps: Positive = 138_600
    seed: NonNegative = 0
    mixed_precision: Literal["no", "bf16"] = "no"
    accumulate: Positive = 1  # micro-batches a step
    discriminator_start: NonNegative = 0  # first step with discriminators
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    bottleneck_warmup: BottleneckWarmupConfig = BottleneckWarmupConfig()
    log_every: Positive = 50
    validate_every: Positive = 1000
    sample_every: Positive = 5000
    samples: NonNegative = 4  # validation utterances heard and seen in TensorBoard
    checkpoint_every: Positive = 1000
    keep_checkpoints: Positive = 2
    max_bad_steps: Positive = 20  # consecutive non-finite steps before the run stops

    @model_validator(mode="after")
    def _checkpoints_fall_on_log_steps(self) -> Self:
        for name in ("validate_every", "sample_every", "checkpoint_every"):
            # A resumed run then logs the same means as an undisturbed one.
            if getattr(self, name) % self.log_every:
                raise ValueError(
                    f"training.{name}={getattr(self, name)} must be a multiple of log_every={self.log_every}"
                )
        return self


class RunConfig(Settings):
    """A whole training run."""

    output: str = "exp/run"
    init_from: str | None = None  # model folder (or hub name) of equal sizes whose weights training starts from
    model: ModelConfig = ModelConfig()
    discriminators: DiscriminatorConfig = DiscriminatorConfig()
    losses: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _crops_hold_the_transforms(self) -> Self:
        mel = max(scale.n_fft for scale in self.losses.mel_scales)
        sizes = (mel, *(n_fft for n_fft, _, _ in self.discriminators.resolutions), *self.discriminators.dac_fft_sizes)
        pictures = 1024  # n_fft of the spectrograms in TensorBoard
        for name, n_fft in (("crop_s", max(sizes)), ("validation_crop_s", max(mel, pictures))):
            seconds = getattr(self.data, name)
            if round(seconds * self.model.sample_rate) <= n_fft // 2:
                least = n_fft / self.model.sample_rate
                raise ValueError(f"data.{name}={seconds} is too short for an n_fft of {n_fft}; try {least:.2f} or more")
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

Config = TypeVar("Config", bound=Settings)


class _Loader(yaml.SafeLoader):
    """YAML that reads 3e-4 as a number. PyYAML follows YAML 1.1, which wants 3.0e-4."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: plain values only


def build(kind: type[Config], data: Any, where: str = "settings") -> Config:
    """Check plain data (from JSON or YAML) against ``kind``.

    Raises:
        CodecError: unknown key, wrong type or value; the message names key, value and what was expected.
    """
    if not isinstance(data, dict):
        raise CodecError(f"{where}: expected a mapping of settings, got {type(data).__name__}")
    try:
        # JSON mode: strict about scalars, and a list is what a tuple is written as.
        return kind.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise CodecError(f"{where}: " + "; ".join(_explain(kind, item) for item in error.errors())) from None
    except TypeError as error:
        raise CodecError(f"{where}: {error}; settings are numbers, strings, lists and mappings") from None


def _explain(kind: type[Settings], item: Any) -> str:
    path = [part for part in item["loc"] if isinstance(part, str)]
    key = ".".join(str(part) for part in item["loc"]) or "settings"
    if item["type"] == "extra_forbidden":
        known = _known_keys(kind, path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        prefix = "".join(f"{part}." for part in path[:-1])
        hint = f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"unknown setting {key}; {hint}"
    if item["type"] == "value_error":
        return item["msg"].removeprefix("Value error, ")
    return f"{key}={item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _known_keys(kind: type[Settings], path: Sequence[str]) -> list[str]:
    for part in path:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, Settings)):
            return []
        kind = annotation
    return list(kind.model_fields)


def preset(name: str) -> ModelConfig:
    """Sizes of a named model: ``reference`` or ``tiny``."""
    return build(ModelConfig, _preset(name), f"preset {name}")


def _preset(name: Any) -> dict[str, Any]:
    if not isinstance(name, str) or name not in PRESETS:
        raise CodecError(f"model.preset={name!r} is not known; presets are {', '.join(PRESETS)}")
    return PRESETS[name]


def load_run_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML file and apply ``section.key=value`` overrides (values in YAML syntax).

    Raises:
        CodecError: file missing or not YAML, unknown key, wrong type, malformed override.
    """
    data = _read_yaml(Path(path))
    for item in overrides:
        data = merge(data, _parse_override(item))
    model = data.get("model", {})
    if isinstance(model, dict) and "preset" in model:
        rest = {key: value for key, value in model.items() if key != "preset"}
        data = {**data, "model": merge(_preset(model["preset"]), rest)}
    return build(RunConfig, data, str(path))


def _read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in seen:
        raise CodecError(f"{path}: the files named by 'base' form a circle; remove one of them")
    try:
        data = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CodecError(f"{path}: cannot read the settings ({error.strerror}); give an existing YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CodecError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise CodecError(f"{path}: expected a mapping of settings, got {type(data).__name__}")
    base = data.pop("base", None)
    if base is None:
        return data
    return merge(_read_yaml(path.parent / str(base), (*seen, path.resolve())), data)


def _parse_override(item: str) -> dict[str, Any]:
    key, sign, text = item.partition("=")
    if not sign or not all(key.split(".")):
        raise CodecError(f"override {item!r}: expected section.key=value, for example training.steps=1000")
    try:
        value: Any = _parse_yaml(text)
    except yaml.YAMLError:
        raise CodecError(f"override {item!r}: {text!r} is not a YAML value") from None
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``, mapping by mapping; everything else is replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def dump_yaml(config: Settings) -> str:
    """The resolved settings as YAML, every key written out."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False)
