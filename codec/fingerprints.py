"""Fingerprints: 16 hex digits that name a model, or the tokens that it speaks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from codec.config.quantizers import DEFAULT_SYSTEM

if TYPE_CHECKING:
    from torch import Tensor

    from codec.config import ModelConfig


def of_model(config: ModelConfig, weights: Mapping[str, Tensor]) -> str:
    """Of settings and weights as a whole."""
    return _fingerprint(config, weights, without=None)


def of_tokens(config: ModelConfig, weights: Mapping[str, Tensor]) -> str:
    """Of all that tokens follow from: everything but the decoder."""
    return _fingerprint(config, weights, without="decoder")


def _fingerprint(config: ModelConfig, weights: Mapping[str, Tensor], without: str | None) -> str:
    """``without``: a part that does not count, by its name in settings and weights."""
    left_out = {without} if without else None
    # Without what is at its default: a setting that a later version adds must not rename the models that are there.
    digest = hashlib.sha256(config.model_dump_json(exclude_defaults=True, exclude=left_out).encode())
    if config.quantizer.name != DEFAULT_SYSTEM:  # a system's name is the default of its own settings
        digest.update(config.quantizer.name.encode())
    for name, value in sorted(weights.items()):
        if name.split(".")[0] != without:
            digest.update(name.encode())
            numbers = np.ascontiguousarray(value.detach().cpu().float().numpy())
            if without:  # an average makes 0.0 of -0.0; in fingerprints of whole models, which are there, it counts
                numbers = numbers + np.float32(0)
            digest.update(numbers.data)
    return digest.hexdigest()[:16]
