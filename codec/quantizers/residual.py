"""Residual quantisation: several codes a frame, each for what the ones before it left."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import ResidualConfig, ResidualSimVQConfig, SimVQConfig
from codec.quantizers.base import Coded, Quantizer, join_digits, split_digits, straight_through
from codec.quantizers.codebook import finite_latents, nearest_rows, starting_codes
from codec.quantizers.ema import EPSILON, in_even_use, restarted, step_statistics
from codec.quantizers.processes import gather_rows
from codec.quantizers.simvq import SimVQ


class ResidualVQ(Quantizer[ResidualConfig]):
    """RQ-VAE (arXiv 2203.01941): one codebook for all stages.

    r_0 = z; k_q = argmin |r_(q-1) - e_k|; r_q = r_(q-1) - e_(k_q); the sum of the codes stands for z.
    loss = beta * mean over stages of mean((z - sg[partial sum])^2). Codes are moving averages over the residuals of all
    stages that chose them, with restart from a residual where they are chosen too rarely (n as in :class:`JukeboxVQ`).
    """

    codebook: Tensor  # (k, D), k to the power of the stages = K
    counts: Tensor  # (k,)
    sums: Tensor  # (k, D)

    def __init__(self, dim: int, config: ResidualConfig) -> None:
        super().__init__(dim, config)
        self.config = config
        self.sizes = [config.stage_size] * config.codebooks
        codebook = torch.randn(config.stage_size, dim) * dim**-0.5
        self.register_buffer("codebook", codebook)
        self.register_buffer("counts", torch.full((config.stage_size,), config.restart_below))
        self.register_buffer("sums", config.restart_below * codebook)

    def self_moving(self) -> list[Tensor]:
        """Codes and statistics."""
        return [self.codebook, self.counts, self.sums]

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        residuals, digits = self._stages(rows.detach())
        total = torch.zeros_like(rows)
        loss = rows.new_zeros(())
        for stage in range(len(self.sizes)):
            total = total + self.codebook[digits[:, stage]]
            loss = loss + self.config.commitment * F.mse_loss(rows, total) / len(self.sizes)
        if self.training:
            self._move(residuals.flatten(0, 1), digits.T.flatten())
        return Coded(straight_through(rows, total), join_digits(digits, self.sizes), loss)

    @torch.no_grad()
    def _stages(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> what each stage met (Q, N, D) and what it chose (N, Q)."""
        met, digits = [], []
        for _ in self.sizes:
            met.append(rows)
            digits.append(nearest_rows(rows, self.codebook))
            rows = rows - self.codebook[digits[-1]]
        return torch.stack(met), torch.stack(digits, dim=1)

    @torch.no_grad()
    def _move(self, rows: Tensor, chosen: Tensor) -> None:
        counts, sums = in_even_use(*step_statistics(rows, chosen, len(self.counts)))
        decay = self.config.decay
        counts, sums = torch.lerp(counts, self.counts, decay), torch.lerp(sums, self.sums, decay)
        rows = gather_rows(rows)
        finite = rows.isfinite().all()
        counts, sums = restarted(counts, sums, rows, self.config.restart_below)
        moved = sums / counts.clamp(min=EPSILON).unsqueeze(1)
        for buffer, value in zip(self.self_moving(), (moved, counts, sums), strict=True):
            buffer.copy_(torch.where(finite, value, buffer))

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Stage by stage the nearest code, (N, D) -> (N,)."""
        return join_digits(self._stages(rows)[1], self.sizes)

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> sums of codes (N, D)."""
        return self.codebook[split_digits(tokens, self.sizes)].sum(dim=1)

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Half of the codes from latents (N, D), half from what those leave, since all stages share them."""
        latents = finite_latents(latents)
        size = len(self.codebook)
        first = starting_codes(latents, -(-size // 2), method, generator)
        left = latents - first[nearest_rows(latents, first)]
        rest = [starting_codes(left, size - len(first), method, generator)] if size > 1 else []
        self.codebook.copy_(torch.cat([first, *rest]))
        self.counts.fill_(self.config.restart_below)
        self.sums.copy_(self.config.restart_below * self.codebook)


class ResidualSimVQ(Quantizer[ResidualSimVQConfig]):
    """A SimVQ (arXiv 2411.02038) for each stage, with a C, W and b of its own; the loss is the mean of theirs."""

    def __init__(self, dim: int, config: ResidualSimVQConfig) -> None:
        super().__init__(dim, config)
        self.sizes = [config.stage_size] * config.codebooks
        stage = SimVQConfig(codebook_size=config.stage_size, commitment=config.commitment, bias=config.bias)
        self.parts = nn.ModuleList(SimVQ(dim, stage) for _ in self.sizes)

    @property
    def stages(self) -> list[SimVQ]:
        """The SimVQ of each stage."""
        return cast(list[SimVQ], list(self.parts))

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        total, digits, loss = torch.zeros_like(rows), [], rows.new_zeros(())
        for stage in self.stages:
            coded = stage.quantize_rows(rows - total)
            total = total + coded.quantized.detach()
            loss = loss + coded.loss / len(self.sizes)
            digits.append(coded.tokens)
        return Coded(straight_through(rows, total), join_digits(torch.stack(digits, dim=1), self.sizes), loss)

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Stage by stage the nearest code, (N, D) -> (N,)."""
        digits = []
        for stage in self.stages:
            digits.append(stage.search_rows(rows))
            rows = rows - stage.look_up(digits[-1])
        return join_digits(torch.stack(digits, dim=1), self.sizes)

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> sums of codes (N, D)."""
        digits = split_digits(tokens, self.sizes).unbind(1)
        return torch.stack([stage.look_up(part) for stage, part in zip(self.stages, digits, strict=True)]).sum(dim=0)

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Each stage from what the ones before it leave of latents (N, D)."""
        latents = finite_latents(latents)
        for stage in self.stages:
            stage.initialize(latents, method, generator)
            latents = latents - stage.look_up(stage.search_rows(latents))
