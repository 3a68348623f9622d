"""Settings of the bottlenecks: one class a system, chosen by ``model.quantizer.name`` (no name: SimVQ)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from codec.config.base import NonNegative, NonNegativeFloat, Positive, PositiveFloat, Settings, Share

MAX_CODES = 1 << 31  # a .svq header says no more, and 4 bytes hold every token


class QuantizerConfig(Settings):
    """What every bottleneck has.

    ``codebook_size`` is the number of different tokens a frame can have, all codebooks taken together, so that equal
    numbers mean equal rates whatever the system.
    """

    name: str
    codebook_size: Positive = 4096
    commitment: NonNegativeFloat = 0.25  # beta: weight of the encoder's term against the codebook's

    @field_validator("codebook_size")
    @classmethod
    def _tokens_fit_into_31_bits(cls, size: int) -> int:
        if size > MAX_CODES:
            raise ValueError(
                f"quantizer.codebook_size={size}: a token has at most 31 bits, {MAX_CODES} codes (all codebooks, "
                f"levels or bits of a frame count together); take fewer or smaller ones"
            )
        return size


class SimVQConfig(QuantizerConfig):
    """SimVQ (arXiv 2411.02038)."""

    name: Literal["simvq"] = "simvq"
    trainable_codebook: bool = False  # train C beside W
    codebook_init: Literal["gaussian", "uniform"] = "gaussian"
    bias: bool = True
    search_chunk: Positive = 4096  # codes whose scores are held at once
    # StableVQ's two cures for large codebooks. dynamic: of one code's latents, the farther ones pass less gradient.
    ste: Literal["plain", "dynamic"] = "plain"
    # A number: the weight of StableVQ's Region VQ loss, which takes the place of the codebook's term and gives unused
    # codes near a crowded one a share of its latents to move to.
    region: PositiveFloat | None = None
    region_window: Positive = 100  # a code not chosen for so many steps counts as unused


class VQConfig(QuantizerConfig):
    """A learned codebook, straight-through (VQ-VAE, arXiv 1711.00937)."""

    name: Literal["vq"] = "vq"


class EMAConfig(QuantizerConfig):
    """A codebook of moving averages (VQ-VAE, arXiv 1711.00937, appendix A.1)."""

    name: Literal["ema"] = "ema"
    decay: Share = 0.99


class JukeboxConfig(QuantizerConfig):
    """Moving averages with random restart of unused codes (Jukebox, arXiv 2005.00341)."""

    name: Literal["jukebox"] = "jukebox"
    commitment: NonNegativeFloat = 0.02
    decay: Share = 0.99
    # A code chosen less often than this share of even use starts again from a latent, from the first step on.
    # (Published: less than 1.0 latents a step, where there are far more latents than codes.)
    restart_below: PositiveFloat = 0.1


class RotationConfig(QuantizerConfig):
    """A learned codebook with the rotation trick (arXiv 2410.06424)."""

    name: Literal["rotation"] = "rotation"


class FactorizedConfig(QuantizerConfig):
    """Look-up by cosine in few dimensions (ViT-VQGAN, arXiv 2110.04627; DAC, arXiv 2306.06546)."""

    name: Literal["factorized"] = "factorized"
    codebook_dim: Positive = 8


class FSQConfig(QuantizerConfig):
    """Finite scalar quantisation (arXiv 2309.15505). It has no commitment loss: ``commitment`` changes nothing."""

    name: Literal["fsq"] = "fsq"
    # Levels of each dimension; their product is codebook_size. Empty: 8 and 4 levels that make up a power of two.
    # Beyond 1,000 the published bound, a thousandth outside the last level, would round to one more.
    levels: tuple[Annotated[int, Field(ge=3, le=1000)], ...] = ()

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Levels of each dimension."""
        if self.levels:
            return self.levels
        bits = self.codebook_size.bit_length() - 1
        parts = -(-bits // 3)
        return tuple(2 ** (bits // parts + (part < bits % parts)) for part in range(parts))

    @model_validator(mode="after")
    def _levels_make_up_the_codes(self) -> Self:
        if self.levels and math.prod(self.levels) != self.codebook_size:
            raise ValueError(
                f"quantizer.codebook_size={self.codebook_size}: quantizer.levels={list(self.levels)} make "
                f"{math.prod(self.levels)} codes; set that, or leave levels empty"
            )
        if not self.levels:
            _power_of_two(self.codebook_size, 4, "set quantizer.levels for others")
        return self


class LFQConfig(QuantizerConfig):
    """Look-up-free quantisation (arXiv 2310.05737)."""

    name: Literal["lfq"] = "lfq"
    commitment: NonNegativeFloat = 2.5e-4  # published: 0.25 beside the reconstruction; see entropy_weight
    # Published: 0.1 beside the reconstruction. losses.commitment multiplies both by 1000.
    entropy_weight: NonNegativeFloat = 1e-4
    diversity: NonNegativeFloat = 1.0  # gamma: weight of even use against decided latents
    temperature: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _codes_are_bits(self) -> Self:
        _power_of_two(self.codebook_size, 2, "one bit a dimension")
        return self


class BSQConfig(LFQConfig):
    """Binary spherical quantisation (arXiv 2406.07548)."""

    name: Literal["bsq"] = "bsq"  # type: ignore[assignment]


class StagedConfig(QuantizerConfig):
    """What systems with several codebooks share: K = the size of one to the power of their number."""

    codebooks: Positive = 2

    @property
    def stage_size(self) -> int:
        """Codes in each codebook."""
        return round(self.codebook_size ** (1 / self.codebooks))

    @model_validator(mode="after")
    def _equal_codebooks(self) -> Self:
        if self.stage_size**self.codebooks != self.codebook_size:
            near = self.stage_size**self.codebooks
            raise ValueError(
                f"quantizer.codebook_size={self.codebook_size} counts what {self.codebooks} codebooks say together: "
                f"expected a whole number to that power, such as {self.stage_size}^{self.codebooks} = {near}"
            )
        return self


class ResidualConfig(StagedConfig):
    """Residual quantisation with one codebook for all stages (RQ-VAE, arXiv 2203.01941)."""

    name: Literal["residual"] = "residual"
    decay: Share = 0.99
    restart_below: PositiveFloat = 0.1  # as jukebox's


class ResidualSimVQConfig(StagedConfig):
    """A SimVQ for each stage of residual quantisation."""

    name: Literal["residual_simvq"] = "residual_simvq"
    bias: bool = True


class HuhConfig(QuantizerConfig):
    """Affine codes, synchronised and alternating updates (arXiv 2305.08842)."""

    name: Literal["huh"] = "huh"
    affine_groups: NonNegative = 1  # groups of codes that share scale and shift; 0: no affine map
    affine_lr: PositiveFloat = 10.0  # rate of scale and shift over that of the rest
    sync: NonNegativeFloat = 0.2  # nu: share of the decoder's gradient that reaches the codes; 0: none
    alternate_lr: PositiveFloat | None = None  # of the codes' own step of SGD, such as 50; None: the optimiser's

    @model_validator(mode="after")
    def _codes_fall_into_groups(self) -> Self:
        if self.affine_groups and self.codebook_size % self.affine_groups:
            raise ValueError(
                f"quantizer.codebook_size={self.codebook_size} is not divisible by quantizer.affine_groups="
                f"{self.affine_groups}; take a divisor of it"
            )
        return self


class CVQConfig(QuantizerConfig):
    """Codes that run after anchors (CVQ-VAE, arXiv 2307.15139)."""

    name: Literal["cvq"] = "cvq"
    decay: Share = 0.99
    anchor: Literal["closest", "random", "probrandom"] = "probrandom"


class VQGANLCConfig(QuantizerConfig):
    """A frozen codebook behind a projector into few dimensions (VQGAN-LC, arXiv 2406.11837)."""

    name: Literal["vqgan_lc"] = "vqgan_lc"
    commitment: NonNegativeFloat = 1.0
    codebook_dim: Positive = 8


class DAReConfig(QuantizerConfig):
    """Moving averages that split costly clusters (DARe-VQ, 2026)."""

    name: Literal["dare"] = "dare"
    decay: Share = 0.99
    window: Positive = 10  # steps of evidence


class SQVAEConfig(QuantizerConfig):
    """Stochastic quantisation (SQ-VAE, arXiv 2205.07547). ``commitment`` changes nothing."""

    name: Literal["sqvae"] = "sqvae"
    weight: NonNegativeFloat = 1e-3  # of nats a latent; losses.commitment multiplies this by 1000
    temperature_decay: NonNegativeFloat = 1e-5


class HQAConfig(QuantizerConfig):
    """A layer of hierarchical quantised autoencoders (arXiv 2002.08111). ``commitment`` changes nothing."""

    name: Literal["hqa"] = "hqa"
    weight: NonNegativeFloat = 1e-3  # as sqvae's
    temperature: PositiveFloat = 0.5


class VQWAEConfig(QuantizerConfig):
    """Optimal transport between latents and codes (VQ-WAE, arXiv 2302.05917); ``commitment`` weighs it."""

    name: Literal["vqwae"] = "vqwae"
    commitment: NonNegativeFloat = 1.0
    entropy: PositiveFloat = 0.05  # regularisation over the mean cost
    iterations: Positive = 20  # Sinkhorn's


class QINCoConfig(StagedConfig):
    """Residual quantisation with implicit codebooks (QINCo, arXiv 2401.14732)."""

    name: Literal["qinco"] = "qinco"
    hidden_dim: Positive = 256
    layers: Positive = 2


class SCVAEConfig(QuantizerConfig):
    """Sparse codes over a learned dictionary, the strongest sent (after SC-VAE, arXiv 2303.16666)."""

    name: Literal["scvae"] = "scvae"
    gain_levels: Positive = 16  # codebook_size = atoms * gain_levels
    threshold: NonNegativeFloat = 0.01
    iterations: Positive = 16

    @model_validator(mode="after")
    def _codes_are_atoms_times_gains(self) -> Self:
        if self.codebook_size % self.gain_levels:
            raise ValueError(
                f"quantizer.codebook_size={self.codebook_size} is not divisible by quantizer.gain_levels="
                f"{self.gain_levels}; take a divisor of it"
            )
        return self


SYSTEMS: dict[str, type[QuantizerConfig]] = {
    "simvq": SimVQConfig,
    "vq": VQConfig,
    "ema": EMAConfig,
    "jukebox": JukeboxConfig,
    "rotation": RotationConfig,
    "factorized": FactorizedConfig,
    "fsq": FSQConfig,
    "lfq": LFQConfig,
    "bsq": BSQConfig,
    "residual": ResidualConfig,
    "residual_simvq": ResidualSimVQConfig,
    "huh": HuhConfig,
    "cvq": CVQConfig,
    "vqgan_lc": VQGANLCConfig,
    "dare": DAReConfig,
    "sqvae": SQVAEConfig,
    "hqa": HQAConfig,
    "vqwae": VQWAEConfig,
    "qinco": QINCoConfig,
    "scvae": SCVAEConfig,
}
DEFAULT_SYSTEM = "simvq"


def _power_of_two(size: int, least: int, hint: str) -> None:
    if size < least or size.bit_count() != 1:
        near = max(least, 1 << max(size - 1, 1).bit_length())
        raise ValueError(
            f"quantizer.codebook_size={size}: expected a power of two from {least} on ({hint}); try {near}"
        )


def _name_of(settings: Any) -> str:
    """Which system settings (or plain data, before they are checked) belong to."""
    if isinstance(settings, QuantizerConfig):
        return settings.name
    return str(settings.get("name", DEFAULT_SYSTEM)) if isinstance(settings, dict) else DEFAULT_SYSTEM


def any_system() -> Any:
    """The type of all settings in ``SYSTEMS``; their ``name`` says which."""
    return Union[tuple(Annotated[kind, Tag(name)] for name, kind in SYSTEMS.items())]  # noqa: UP007


if TYPE_CHECKING:
    AnyQuantizerConfig = QuantizerConfig
else:
    AnyQuantizerConfig = Annotated[any_system(), Discriminator(_name_of)]
