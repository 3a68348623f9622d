"""Bottlenecks behind one contract (:mod:`codec.quantizers.base`), chosen by ``model.quantizer.name``."""

from __future__ import annotations

from typing import Any

from codec.config import QuantizerConfig
from codec.config.run import add_system
from codec.errors import CodecError
from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.cvq import CVQ
from codec.quantizers.dare import DAReVQ
from codec.quantizers.ema import EMAVQ, JukeboxVQ
from codec.quantizers.factorized import FactorizedVQ
from codec.quantizers.fsq import FSQ
from codec.quantizers.huh import HuhVQ
from codec.quantizers.lfq import LFQ
from codec.quantizers.qinco import QINCo
from codec.quantizers.residual import ResidualSimVQ, ResidualVQ
from codec.quantizers.rotation import RotationVQ
from codec.quantizers.scvae import SCVAE
from codec.quantizers.simvq import SimVQ
from codec.quantizers.soft import HQA, SQVAE
from codec.quantizers.vq import VQ
from codec.quantizers.vqgan_lc import VQGANLC
from codec.quantizers.wae import VQWAE

REGISTRY: dict[str, type[Quantizer[Any]]] = {
    "simvq": SimVQ,
    "vq": VQ,
    "ema": EMAVQ,
    "jukebox": JukeboxVQ,
    "rotation": RotationVQ,
    "factorized": FactorizedVQ,
    "fsq": FSQ,
    "lfq": LFQ,
    "bsq": LFQ,
    "residual": ResidualVQ,
    "residual_simvq": ResidualSimVQ,
    "huh": HuhVQ,
    "cvq": CVQ,
    "vqgan_lc": VQGANLC,
    "dare": DAReVQ,
    "sqvae": SQVAE,
    "hqa": HQA,
    "vqwae": VQWAE,
    "qinco": QINCo,
    "scvae": SCVAE,
}


def build_quantizer(dim: int, config: QuantizerConfig) -> Quantizer[Any]:
    """The bottleneck that ``config.name`` names, for latents of width ``dim``."""
    return REGISTRY[config.name](dim, config)


def register(config: type[QuantizerConfig], system: type[Quantizer[Any]]) -> None:
    """Make a bottleneck from outside of this package known, by the name that is the default of its settings' ``name``.

    ``model.quantizer.name`` then chooses it as any other, in Python. Commands know it where ``CODEC_PLUGINS`` names the
    module that calls this (docs/bottlenecks.md).

    Raises:
        CodecError: settings without a name, or a name that another system has.
    """
    name = config.model_fields["name"].default
    if not isinstance(name, str):
        raise CodecError(f"{config.__name__} has no name; give it one: name: Literal['mine'] = 'mine'")
    known = REGISTRY.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (system.__module__, system.__qualname__):
        raise CodecError(f"a bottleneck {name!r} is there already ({known.__module__}); take another name")
    REGISTRY[name] = system
    add_system(name, config)


__all__ = ["REGISTRY", "Quantizer", "QuantizerOutput", "build_quantizer", "register"]
