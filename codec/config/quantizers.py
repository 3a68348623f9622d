"""Settings of the bottlenecks: one class a system, chosen by ``model.quantizer.name`` (no name: SimVQ)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Discriminator, Tag

from codec.config.base import NonNegativeFloat, Positive, PositiveFloat, Settings, Share


class QuantizerConfig(Settings):
    """What every bottleneck has.

    ``codebook_size`` is the number of different tokens a frame can have, all codebooks taken together, so that equal
    numbers mean equal rates whatever the system.
    """

    name: str
    codebook_size: Positive = 4096
    commitment: NonNegativeFloat = 0.25  # beta: weight of the encoder's term against the codebook's


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
    # A code chosen less often than this share of even use starts again from a latent. (Published: less than 1.0 latents
    # a step, where there are far more latents than codes.)
    restart_below: PositiveFloat = 0.1


SYSTEMS: dict[str, type[QuantizerConfig]] = {
    "simvq": SimVQConfig,
    "vq": VQConfig,
    "ema": EMAConfig,
    "jukebox": JukeboxConfig,
}
DEFAULT_SYSTEM = "simvq"


def _name_of(settings: Any) -> str:
    """Which system settings (or plain data, before they are checked) belong to."""
    if isinstance(settings, QuantizerConfig):
        return settings.name
    return str(settings.get("name", DEFAULT_SYSTEM)) if isinstance(settings, dict) else DEFAULT_SYSTEM


_Any = Union[tuple(Annotated[kind, Tag(name)] for name, kind in SYSTEMS.items())]  # type: ignore[valid-type]  # noqa: UP007
AnyQuantizerConfig = Annotated[_Any, Discriminator(_name_of)]
