"""Bottlenecks behind one contract (:mod:`codec.quantizers.base`), chosen by ``model.quantizer.name``."""

from __future__ import annotations

from typing import Any

from codec.config import QuantizerConfig
from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.ema import EMAVQ, JukeboxVQ
from codec.quantizers.simvq import SimVQ
from codec.quantizers.vq import VQ

REGISTRY: dict[str, type[Quantizer[Any]]] = {
    "simvq": SimVQ,
    "vq": VQ,
    "ema": EMAVQ,
    "jukebox": JukeboxVQ,
}


def build_quantizer(dim: int, config: QuantizerConfig) -> Quantizer[Any]:
    """The bottleneck that ``config.name`` names, for latents of width ``dim``."""
    return REGISTRY[config.name](dim, config)


__all__ = ["REGISTRY", "Quantizer", "QuantizerOutput", "build_quantizer"]
