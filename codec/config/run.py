"""Settings of a training run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from codec.config.base import NonNegative, NonNegativeFloat, Positive, PositiveFloat, Seed, Settings, Share
from codec.config.model import ModelConfig
from codec.config.quantizers import SYSTEMS, QuantizerConfig, any_system
from codec.config.rates import follow_rate

PICTURE_FFT = 1024  # of the spectrograms that validation puts into TensorBoard

Speed = Annotated[float, Field(ge=0.5, le=2)]


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
    # The mel spectrograms under a power law (loudness) instead of the logarithm: silence counts little. Not published.
    loudness: NonNegativeFloat = 0.0
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
    # means the same for latents of any size. Following the variance all along would let them grow without end. For
    # losses that are squared errors: those of lfq, bsq, sqvae and hqa are entropies, which do not grow with latents.
    normalize_commitment: bool = False


class DataConfig(Settings):
    """Manifests (JSON lines, :mod:`codec.manifest`) or tar shards, and how crops are cut from them."""

    train: tuple[str, ...] = ("data/train.jsonl",)  # manifests; these or `shards`
    # Folders of recipes/shard.py, tar files (train-{000000..000127}.tar), or what webdataset fetches (s3://, pipe:).
    shards: tuple[str, ...] = ()
    shuffle_shards: Positive = 8  # on a disk: so many shards at a time give their utterances in random order
    shuffle_buffer: Positive = 500  # of what is fetched: recordings held by each loader worker
    validation: tuple[str, ...] = ()
    batch_size: Positive = 128  # crops a step, over all processes together
    crop_s: PositiveFloat = 1.0
    gain_db: tuple[float, float] = (0.0, 0.0)  # uniform random gain of a crop
    speed: tuple[Speed, Speed] = (1.0, 1.0)  # uniform random speed, pitch and formants with it, in twentieths
    equaliser_db: Annotated[float, Field(ge=0, le=20)] = 0.0  # uniform random gain of each octave up to this, both ways
    validation_crop_s: PositiveFloat = 3.0
    validation_crops: Positive = 32
    workers: NonNegative = 2  # loader processes for each training process

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.shards and "train" not in self.model_fields_set:
            # Shards take the default's place. Not in a validator "before": that would lose the strictness of JSON.
            object.__setattr__(self, "train", ())
        if bool(self.train) == bool(self.shards):
            given = f"data.train={list(self.train)} and data.shards={list(self.shards)}"
            raise ValueError(f"{given}: give one of both, and an empty list for the other")
        return self

    @model_validator(mode="after")
    def _ranges_begin_with_the_lower(self) -> Self:
        for name in ("gain_db", "speed"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"data.{name}={[low, high]}: expected the lower one first")
        if any(abs(speed * 20 - round(speed * 20)) > 1e-9 for speed in self.speed):
            raise ValueError(f"data.speed={list(self.speed)}: expected multiples of 0.05")
        return self


class OptimizerConfig(Settings):
    """Of both sides. ``schedule`` follows a linear warm-up over ``warmup_steps``."""

    # Of the generator's hidden matrices; the rest is Adam's. Muon needs half the steps, each a quarter longer on a CPU.
    name: Literal["adam", "muon"] = "adam"
    lr: PositiveFloat = 1e-4
    discriminator_lr: PositiveFloat = 1e-4
    quantizer_lr: PositiveFloat | None = None  # None: as the rest; set: constant, without warm-up or decay
    betas: tuple[Share, Share] = (0.5, 0.9)
    eps: PositiveFloat = 1e-8  # far below it a gradient counts as none; the published 1e-8 lets rounding move weights
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: NonNegative = 0
    schedule: Literal["constant", "cosine"] = "constant"
    final_share: Share = 0.0  # of the rate, where the cosine ends
    # Of the steps, at their end: those over which the cosine falls; 1: all. Below 1 a run can be made longer until the
    # fall begins.
    decay_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    clip_norm: PositiveFloat | None = None  # of the generator's and of the discriminators' gradient


class BottleneckWarmupConfig(Settings):
    """Train as a plain autoencoder first, then set W and b (or C) from the latents (arXiv 2605.06870)."""

    share: Share = 0.0  # of all steps
    init: Literal["covariance", "shrunk", "kmeans"] = "covariance"
    latents: Positive = 40_000  # at most this many for the statistics


class LastStageConfig(Settings):
    """The last steps: more mel weight at low, constant rates (UniCodec: ten times, at a quarter of the rate)."""

    share: Share = 0.0  # of all steps
    mel_factor: NonNegativeFloat = 10.0  # of losses.mel
    lr_share: PositiveFloat = 0.25  # of every group's full rate


CodecPart = Literal["encoder", "quantizer", "decoder"]
PARTS: tuple[CodecPart, ...] = get_args(CodecPart)


class TrainingConfig(Settings):
    """The loop."""

    steps: Positive = 138_600
    seed: Seed = 0
    # Parts that stay as they are: with [encoder, quantizer] the decoder learns alone, and tokens mean what they meant.
    frozen: tuple[CodecPart, ...] = ()
    mixed_precision: Literal["no", "bf16"] = "no"
    accumulate: Positive = 1  # micro-batches a step
    discriminator_start: NonNegative = 0  # first step with discriminators
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    bottleneck_warmup: BottleneckWarmupConfig = BottleneckWarmupConfig()
    last_stage: LastStageConfig = LastStageConfig()
    compile: bool = False  # torch.compile encoder, decoder and discriminators
    # On CUDA, cuDNN times its algorithms for every new shape and keeps the fastest, which may differ from run to run.
    cudnn_benchmark: bool = False
    channels_last: bool = False  # in memory, of the period discriminators: slower on CPUs, meant for tensor cores
    log_every: Positive = 50
    validate_every: Positive = 1000
    sample_every: Positive = 5000
    samples: NonNegative = 4  # validation utterances heard and seen in TensorBoard
    checkpoint_every: Positive = 1000
    keep_checkpoints: Positive = 2  # the newest so many; best/ is kept beside them
    milestone_every: Positive | None = None  # steps whose checkpoints are kept for ever
    max_bad_steps: Positive = 20  # consecutive non-finite steps before the run stops

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if self.bottleneck_warmup.share + self.last_stage.share >= 1:
            raise ValueError(
                f"training.bottleneck_warmup.share={self.bottleneck_warmup.share} and training.last_stage.share="
                f"{self.last_stage.share} leave no steps between them; their sum must be below 1"
            )
        return self

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if len(set(self.frozen)) < len(self.frozen) or len(self.frozen) == len(PARTS):
            raise ValueError(f"training.frozen={list(self.frozen)}: expected each part once, and not all of them")
        if "quantizer" in self.frozen and self.bottleneck_warmup.share > 0:
            raise ValueError(
                f"training.frozen={list(self.frozen)}: training.bottleneck_warmup.share={self.bottleneck_warmup.share} "
                "would set the codebook anew; set it to 0.0"
            )
        return self

    @model_validator(mode="after")
    def _milestones_fall_on_checkpoints(self) -> Self:
        if self.milestone_every is not None and self.milestone_every % self.checkpoint_every:
            raise ValueError(
                f"training.milestone_every={self.milestone_every} must be a multiple of checkpoint_every="
                f"{self.checkpoint_every}"
            )
        return self

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
    init_from: str | None = None  # model folder or name whose weights training starts from, of equal sizes
    init_parts: tuple[CodecPart, ...] = PARTS  # of these parts; the others begin untrained
    model: ModelConfig = ModelConfig()
    discriminators: DiscriminatorConfig = DiscriminatorConfig()
    losses: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def complete(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The transforms of losses and discriminators follow from the sample rate."""
        if isinstance(model := data.get("model"), dict):
            data = {**data, "model": ModelConfig.complete(model)}
        data = _with_mel_factor(data)
        published = {
            "discriminators": DiscriminatorConfig().model_dump(mode="json", include={"resolutions", "dac_fft_sizes"}),
            "losses": LossConfig().model_dump(mode="json", include={"mel_scales"}),
        }
        return follow_rate(data, published)

    @model_validator(mode="after")
    def _some_parts_of_something(self) -> Self:
        if not self.init_parts or len(set(self.init_parts)) < len(self.init_parts):
            raise ValueError(f"init_parts={list(self.init_parts)}: expected each part once, and at least one")
        if self.init_from is None and len(self.init_parts) < len(PARTS):
            raise ValueError(f"init_parts={list(self.init_parts)} of no model; set init_from too")
        return self

    @model_validator(mode="after")
    def _crops_hold_the_transforms(self) -> Self:
        mel = max(scale.n_fft for scale in self.losses.mel_scales)
        sizes = (mel, *(n_fft for n_fft, _, _ in self.discriminators.resolutions), *self.discriminators.dac_fft_sizes)
        for name, n_fft in (("crop_s", max(sizes)), ("validation_crop_s", max(mel, PICTURE_FFT))):
            seconds = getattr(self.data, name)
            if round(seconds * self.model.sample_rate) <= n_fft // 2:
                least = n_fft / self.model.sample_rate
                raise ValueError(f"data.{name}={seconds} is too short for an n_fft of {n_fft}; try {least:.2f} or more")
        return self


def add_system(name: str, kind: type[QuantizerConfig]) -> None:
    """Settings of models and runs may have one more bottleneck from here on (:func:`codec.quantizers.register`)."""
    SYSTEMS[name] = kind
    ModelConfig.model_fields["quantizer"].annotation = any_system()
    for settings in (ModelConfig, RunConfig):
        settings.model_rebuild(force=True)


def _with_mel_factor(data: dict[str, Any]) -> dict[str, Any]:
    """Runs written before ``last_stage.mel_factor`` have the weight itself, ``last_stage.mel``; they stay readable."""
    training, losses = data.get("training"), data.get("losses", {})
    if not isinstance(training, dict) or not isinstance(losses, dict):
        return data
    last = training.get("last_stage")
    if not isinstance(last, dict) or "mel" not in last or "mel_factor" in last:
        return data
    weight, base = last["mel"], losses.get("mel", LossConfig().mel)
    if not (isinstance(weight, int | float) and isinstance(base, int | float) and base > 0):
        return data  # refused as an unknown setting
    last = {**{key: value for key, value in last.items() if key != "mel"}, "mel_factor": weight / base}
    return {**data, "training": {**training, "last_stage": last}}
