"""Codebooks learned through soft choices: SQ-VAE (arXiv 2205.07547) and HQA's layer (arXiv 2002.08111).

Both hold the N x K matrix of probabilities with its gradient while they train: 0.6 GB for 40 crops of 3 s at 75 frames
a second and K = 16,384. In eval mode the choice is the most probable code, which is the nearest.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from codec.config import HQAConfig, SQVAEConfig
from codec.quantizers.base import Coded, Settings
from codec.quantizers.table import TableQuantizer


class SoftVQ(TableQuantizer[Settings]):
    """A table of codes of which training takes mixtures."""

    def __init__(self, dim: int, config: Settings) -> None:
        super().__init__(dim, config)
        self.codebook = nn.Parameter(torch.randn(config.codebook_size, dim))

    @abstractmethod
    def soften(self, rows: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (N, D), squared distances (N, K) -> mixing weights (N, K) for training, and the loss ()."""

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D): mixtures of codes in training mode, the nearest code in eval mode."""
        distances = (
            rows.square().sum(dim=1, keepdim=True) + self.codebook.square().sum(dim=1) - 2 * rows @ self.codebook.T
        ).clamp(min=0)
        mixture, loss = self.soften(rows, distances)
        tokens = self.search_rows(rows)
        return Coded(mixture @ self.codebook if self.training else self.codebook[tokens], tokens, loss)


class SQVAE(SoftVQ[SQVAEConfig]):
    """Stochastic quantisation with a learned variance s2, one for all latents ("gaussian_1").

    p = softmax_k(-|z - e_k|^2 / (2 s2)); y = softmax((log p + Gumbel noise) / t); z_q = y E, no straight-through.
    loss = weight * mean over latents of (sum_k p_k log p_k + |z - z_q|^2 / (2 s2)), in nats. The temperature t falls
    as exp(-decay * step), down to 0.1.
    """

    steps: Tensor  # () training passes so far

    def __init__(self, dim: int, config: SQVAEConfig) -> None:
        super().__init__(dim, config)
        self.config = config
        self.log_variance = nn.Parameter(torch.tensor(math.log(10.0)))
        self.register_buffer("steps", torch.zeros(()))

    def self_moving(self) -> list[Tensor]:
        """The count of training passes, which the temperature follows."""
        return [self.steps]

    def soften(self, rows: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Gumbel-softmax weights, and the variational loss."""
        doubled = 2 * self.log_variance.exp()
        log_p = (-distances / doubled).log_softmax(dim=1)
        if self.training:
            temperature = torch.exp(-self.config.temperature_decay * self.steps).clamp(min=0.1)
            gumbel = -torch.empty_like(log_p).exponential_().log()
            mixture = ((log_p + gumbel) / temperature).softmax(dim=1)
            self.steps.add_(rows.detach().isfinite().all())
        else:
            mixture = nn.functional.one_hot(distances.argmin(dim=1), self.codebook_size).to(log_p.dtype)
        off = (rows - mixture @ self.codebook).square().sum(dim=1) / doubled
        return mixture, self.config.weight * ((log_p.exp() * log_p).sum(dim=1) + off).mean()

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Codes from latents, s2 as the mean squared error that they leave, and the temperature of the beginning."""
        super().initialize(latents, method, generator)
        error = (latents - self.codebook[self.search_rows(latents.float())]).square().mean()
        self.log_variance.copy_(error.clamp(min=1e-4).log())
        self.steps.zero_()


class HQA(SoftVQ[HQAConfig]):
    """The first layer of hierarchical quantised autoencoders (the upper ones model z, not speech).

    q = softmax_k(-|z - e_k|^2); y = a relaxed one-hot sample of q at temperature 0.5; z_q = y E, no straight-through.
    loss = weight * mean over latents of (KL(q || uniform) + sum_k q_k |z - e_k|^2).
    """

    def __init__(self, dim: int, config: HQAConfig) -> None:
        super().__init__(dim, config)
        self.config = config

    def soften(self, rows: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Relaxed one-hot weights, and entropy and commitment in probability."""
        log_q = (-distances).log_softmax(dim=1)
        q = mixture = log_q.exp()
        if self.training:  # validation draws no random numbers: they would be missing in the steps that follow
            gumbel = -torch.empty_like(log_q).exponential_().log()
            mixture = ((log_q + gumbel) / self.config.temperature).softmax(dim=1)
        loss = (q * (log_q + math.log(self.codebook_size))).sum(dim=1) + (q * distances).sum(dim=1)
        return mixture, self.config.weight * loss.mean()
