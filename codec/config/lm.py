"""Settings of a language model over tokens, and of its training (:mod:`codec.lm`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from codec.config.base import NonNegative, NonNegativeFloat, Positive, PositiveFloat, Seed, Settings, Share


class LMModelConfig(Settings):
    """A causal transformer, transformers' Llama: rotary positions, RMS norm, gated MLP.

    Its vocabulary follows from the codec: K codes and two marks.
    """

    context: Positive = 2048  # positions that it sees: a mark and 27 s at 75 tokens a second
    layers: Positive = 12
    dim: Positive = 768
    heads: Positive = 12
    mlp_dim: Positive = 2048
    tie_embeddings: bool = True  # one table for input and output: at K = 262,144 the table is most of the model
    attention_dropout: Share = 0.0
    rope_theta: PositiveFloat = 10_000.0
    loss_chunk: Positive = 1024  # positions whose logits (loss_chunk, K + 2) exist at a time

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.dim % (2 * self.heads):
            raise ValueError(
                f"model.dim={self.dim}: must be a multiple of 2 * model.heads={2 * self.heads}, as rotary positions "
                "turn pairs of numbers"
            )
        if self.context < 2:
            raise ValueError(f"model.context={self.context}: must hold at least the begin mark and one token")
        return self


class LMDataConfig(Settings):
    """Folders of recipes/tokenize.py or of ``.svq`` files, all by one codec. Their tokens are held in memory."""

    train: Annotated[tuple[str, ...], Field(min_length=1)] = ("data/tokens/train",)
    validation: tuple[str, ...] = ()
    batch_size: Positive = 32  # sequences of `model.context` a step, over all processes together


class LMOptimizerConfig(Settings):
    """AdamW. ``schedule`` follows a linear warm-up over ``warmup_steps``."""

    lr: PositiveFloat = 3e-4
    betas: tuple[Share, Share] = (0.9, 0.95)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.1  # of matrices; embeddings and norms have none
    warmup_steps: NonNegative = 500
    schedule: Literal["constant", "cosine"] = "cosine"
    final_share: Share = 0.1  # of the rate, where the cosine ends
    decay_share: Annotated[float, Field(gt=0, le=1)] = (
        1.0  # of the steps, at their end: those over which the cosine falls
    )
    clip_norm: PositiveFloat | None = 1.0


class LMTrainingConfig(Settings):
    """The loop."""

    steps: Positive = 20_000
    seed: Seed = 0
    mixed_precision: Literal["no", "bf16"] = "no"
    accumulate: Positive = 1  # micro-batches a step
    log_every: Positive = 50
    validate_every: Positive = 1000
    checkpoint_every: Positive = 1000
    keep_checkpoints: Positive = 2  # the newest so many; best/ is kept beside them
    milestone_every: Positive | None = None  # steps whose checkpoints are kept for ever
    max_bad_steps: Positive = 20  # consecutive non-finite steps before the run stops

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        for name in ("validate_every", "checkpoint_every"):
            # A resumed run then logs the same means as an undisturbed one.
            if getattr(self, name) % self.log_every:
                raise ValueError(
                    f"training.{name}={getattr(self, name)} must be a multiple of log_every={self.log_every}"
                )
        if self.milestone_every is not None and self.milestone_every % self.checkpoint_every:
            raise ValueError(
                f"training.milestone_every={self.milestone_every} must be a multiple of checkpoint_every="
                f"{self.checkpoint_every}"
            )
        return self


class LMConfig(Settings):
    """A whole training run of a language model."""

    output: str = "exp/lm"
    init_from: str | None = None  # folder of a language model whose weights training starts from, of equal sizes
    model: LMModelConfig = LMModelConfig()
    data: LMDataConfig = LMDataConfig()
    optimizer: LMOptimizerConfig = LMOptimizerConfig()
    training: LMTrainingConfig = LMTrainingConfig()
