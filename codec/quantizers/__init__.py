"""Bottlenecks behind one contract (:mod:`codec.quantizers.base`), chosen by ``model.quantizer.name``."""

from __future__ import annotations

from codec.config import QuantizerConfig
from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.simvq import SimVQ

REGISTRY: dict[str, type[Quantizer]] = {"simvq": SimVQ}


def build_quantizer(dim: int, config: QuantizerConfig) -> Quantizer:
    """The bottleneck that ``config.name`` names, for latents of width ``dim``."""
    return REGISTRY[config.name](dim, config)


__all__ = ["REGISTRY", "Quantizer", "QuantizerOutput", "build_quantizer"]
