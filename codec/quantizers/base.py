"""The one contract of every bottleneck.

Latents have any rank: (B, D, ...) with the width D second; tokens are (B, ...). A system writes three functions on rows
(N, D), and this base does the rest once for all of them: shapes, float32 outside autocast, latents that are not
numbers, an empty batch.

**One token a frame.** A system with several codebooks, levels or bits says all of them in one number: the index into
the product of its parts, the first part the most significant (:func:`join_digits`). ``codebook_size`` is the size of
that product, so that rate, code usage, the ``.svq`` format and whoever trains on the tokens need no special case. It
is at most 2^31, what ``.svq`` can say.

**What is not a number.** A latent with a NaN or an infinity gets token 0; a training pass over it gives a loss that is
not finite and moves no buffer.

**Several processes.** Statistics of a batch are those of the batches of all processes together
(:mod:`codec.quantizers.processes`), in training mode only: in validation, processes may have different numbers of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import QuantizerConfig
from codec.errors import CodecError
from codec.precision import full_float32

Settings = TypeVar("Settings", bound=QuantizerConfig)


class QuantizerOutput(NamedTuple):
    """What a training pass through a bottleneck gives."""

    quantized: Tensor  # (B, D, ...), gradients straight through to the latent
    tokens: Tensor  # (B, ...) int64
    loss: Tensor  # (), to be weighted by losses.commitment
    metrics: dict[str, Tensor]  # scalars on the device, for the log


class Coded(NamedTuple):
    """The same for rows."""

    quantized: Tensor  # (N, D)
    tokens: Tensor  # (N,) int64
    loss: Tensor  # ()
    metrics: dict[str, Tensor] = {}  # noqa: RUF012 - never written to


class Quantizer(nn.Module, ABC, Generic[Settings]):
    """Latents (B, D, ...) to tokens (B, ...) and back.

    Args:
        dim: width of the latents, D.
        config: settings of the system.
    """

    codebook_size: int

    def __init__(self, dim: int, config: Settings) -> None:
        super().__init__()
        self.dim = dim
        self.codebook_size = config.codebook_size

    # -- what a system writes ---------------------------------------------------------------------------------------

    @abstractmethod
    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over latents (N, D) float32, N >= 1, outside autocast."""

    @abstractmethod
    def search_rows(self, rows: Tensor) -> Tensor:
        """Finite latents (N, D) float32 -> tokens (N,), without gradient."""

    @abstractmethod
    def look_up(self, tokens: Tensor) -> Tensor:
        """Tokens (N,) -> quantised latents (N, D)."""

    @abstractmethod
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Set the codebook from latents (N, D) that a warmed-up encoder gives (``training.bottleneck_warmup.init``)."""

    def self_moving(self) -> list[Tensor]:
        """All that a training pass changes by itself, counters included, and weights that move outside the optimiser.

        The trainer sets these back after a step with a gradient that is not finite, and the running average of the
        weights takes them over as they are: they are averages themselves, or jump, and what lies between two places of
        a code is no code. By default nothing moves.
        """
        return []

    def averaged_buffers(self) -> list[Tensor]:
        """Those of :meth:`self_moving` that the running average follows as it follows weights: small steps only."""
        return []

    def needs_whole_batch(self) -> bool:
        """Whether the mean of a training pass over parts of a batch is not that of one over all of it.

        The trainer then takes no micro-batches. Processes may share the batch nonetheless: whatever needs all of it
        asks the others. By default it is so where something moves by itself.
        """
        return bool(self.self_moving())

    def describe(self) -> dict[str, float]:
        """Facts about the weights, for the log: cheap enough for every log interval. By default there are none."""
        return {}

    # -- what everybody calls -----------------------------------------------------------------------------------------

    def forward(self, latent: Tensor) -> QuantizerOutput:
        """Quantise for training: (B, D, ...) -> quantised latents, tokens, loss and metrics.

        Raises:
            CodecError: latents of another width.
        """
        if self._rows(latent).numel() == 0:
            return self.bypass(latent)
        with torch.autocast(latent.device.type, enabled=False):
            rows = self._rows(latent.float())
            coded = self.quantize_rows(rows)
            with torch.no_grad():
                tokens = torch.where(_is_finite(rows), coded.tokens, 0)
                alarm = 0 * rows.sum()  # NaN where a latent is not finite, whatever the system made of it
                metrics = {
                    "quantization_error": F.mse_loss(coded.quantized, rows),
                    "latent_variance": rows.var(dim=0, correction=0).mean(),
                    **coded.metrics,
                }
        return QuantizerOutput(
            self._latents(coded.quantized, latent), self._tokens(tokens, latent), coded.loss + alarm, metrics
        )

    @torch.no_grad()
    def encode(self, latent: Tensor) -> Tensor:
        """(B, D, ...) -> tokens (B, ...) int64, searched in float32.

        Raises:
            CodecError: latents of another width.
        """
        with torch.autocast(latent.device.type, enabled=False), full_float32():
            rows = self._rows(latent.float())
            if rows.numel() == 0:
                return self._tokens(rows.new_zeros(len(rows), dtype=torch.int64), latent)
            finite = _is_finite(rows)
            tokens = self.search_rows(torch.where(finite.unsqueeze(1), rows, 0.0))
            return self._tokens(torch.where(finite, tokens, 0), latent)

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, ...) -> quantised latents (B, D, ...), in float32."""
        with torch.autocast(tokens.device.type, enabled=False), full_float32():
            rows = self.look_up(tokens.flatten())
        return rows.view(*tokens.shape, self.dim).movedim(-1, 1)

    def bypass(self, latent: Tensor) -> QuantizerOutput:
        """Let the latent through unchanged, for autoencoder warm-up; tokens are all 0.

        Every parameter takes part with gradient zero, so that data-parallel training need not look for unused ones.
        """
        weights = sum((p.sum() for p in self.parameters() if p.requires_grad), latent.new_zeros(()))
        nothing = weights * 0.0 + 0.0  # the second, or logs say -0.0000
        tokens = torch.zeros(latent.shape[:1] + latent.shape[2:], dtype=torch.int64, device=latent.device)
        return QuantizerOutput(latent, tokens, nothing, {})

    # -- shapes -------------------------------------------------------------------------------------------------------

    def _rows(self, latent: Tensor) -> Tensor:
        if latent.ndim < 2 or latent.shape[1] != self.dim:
            raise CodecError(
                f"latents of shape {tuple(latent.shape)}: expected (B, {self.dim}, ...), the width that this "
                f"bottleneck was made for"
            )
        return latent.movedim(1, -1).reshape(-1, self.dim)

    def _latents(self, rows: Tensor, like: Tensor) -> Tensor:
        return rows.view(like.shape[0], *like.shape[2:], self.dim).movedim(-1, 1)

    def _tokens(self, tokens: Tensor, like: Tensor) -> Tensor:
        return tokens.view(like.shape[0], *like.shape[2:])


def join_digits(digits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Parts (N, Q), part q in [0, sizes[q]), to one index (N,) into their product, the first part most significant."""
    index = torch.zeros_like(digits[:, 0])
    for part, size in zip(digits.unbind(1), sizes, strict=True):
        index = index * size + part
    return index


def split_digits(index: Tensor, sizes: Sequence[int]) -> Tensor:
    """The other way: (N,) -> (N, Q)."""
    parts = []
    for size in reversed(sizes):
        parts.append(index % size)
        index = index // size
    return torch.stack(parts[::-1], dim=1)


def straight_through(latent: Tensor, quantized: Tensor) -> Tensor:
    """The quantised values with the gradient of the latent."""
    return latent + (quantized - latent).detach()


def _is_finite(rows: Tensor) -> Tensor:
    """(N, D) -> (N,) whether every number of a row is finite."""
    return rows.isfinite().all(dim=1)
