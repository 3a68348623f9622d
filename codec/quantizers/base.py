"""The one contract of every bottleneck."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.config import QuantizerConfig


class QuantizerOutput(NamedTuple):
    """What a training pass through a bottleneck gives."""

    quantized: Tensor  # (B, D, F), gradients straight through to the latent
    tokens: Tensor  # (B, F) int64
    loss: Tensor  # (), to be weighted by losses.commitment
    metrics: dict[str, Tensor]  # scalars on the device, for the log


class Quantizer(nn.Module, ABC):
    """Latents (B, D, F) to tokens (B, F) and back."""

    codebook_size: int

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.dim = dim
        self.codebook_size = config.codebook_size

    @abstractmethod
    def forward(self, latent: Tensor) -> QuantizerOutput:
        """Quantise for training: (B, D, F) -> quantised latents, tokens, loss and metrics."""

    @abstractmethod
    def encode(self, latent: Tensor) -> Tensor:
        """(B, D, F) -> tokens (B, F) int64."""

    @abstractmethod
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, F) -> quantised latents (B, D, F)."""

    def bypass(self, latent: Tensor) -> QuantizerOutput:
        """Let the latent through unchanged, for autoencoder warm-up; tokens are all 0.

        Every parameter takes part with gradient zero, so that data-parallel training need not look for unused ones.
        """
        nothing = sum((p.sum() for p in self.parameters() if p.requires_grad), latent.new_zeros(())) * 0.0
        tokens = torch.zeros(latent.shape[0], latent.shape[2], dtype=torch.int64, device=latent.device)
        return QuantizerOutput(latent, tokens, nothing, {})

    @abstractmethod
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Set the codebook from latents (N, D) that a warmed-up encoder gives (``training.bottleneck_warmup.init``)."""
