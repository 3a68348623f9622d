"""Bottlenecks behind one contract (:mod:`codec.quantizers.base`), chosen by ``model.quantizer.name``."""

from __future__ import annotations

from typing import Any

from codec.config import QuantizerConfig
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


__all__ = ["REGISTRY", "Quantizer", "QuantizerOutput", "build_quantizer"]
