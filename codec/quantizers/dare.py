"""After DARe-VQ (2026): moving averages whose unused codes split the clusters that cost most."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.config import DAReConfig
from codec.quantizers.base import Coded
from codec.quantizers.ema import EPSILON, MovingAverages
from codec.quantizers.processes import same_everywhere, sum_over_processes

# Of the spread of a cluster. Noise of all of it would be as long as the latents' distances from the centre, but in a
# direction of its own: in many dimensions hardly a latent is nearer to such a code than to the centre that stays.
NEAR = 0.1


class DAReVQ(MovingAverages[DAReConfig]):
    """Evidence is gathered over ``window`` steps; then codes that nobody chose share the clusters with the largest
    use times distortion (their summed squared error), the costliest first.

    A code that takes part in a cluster starts at its centre plus Gaussian noise of a tenth of the cluster's own spread,
    and n is divided evenly among those who share it. (How to divide and how far to move is ours; the description names
    the choice of codes and clusters.)
    """

    hits: Tensor  # (K,) latents that chose a code in this window
    errors: Tensor  # (K,) their summed squared error
    step: Tensor  # () steps of this window

    def __init__(self, dim: int, config: DAReConfig) -> None:
        super().__init__(dim, config, config.decay)
        self.window = config.window
        self.register_buffer("hits", torch.zeros(config.codebook_size))
        self.register_buffer("errors", torch.zeros(config.codebook_size))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def self_moving(self) -> list[Tensor]:
        """Codes, statistics and the window's evidence."""
        return [*self.statistics(), self.hits, self.errors, self.step]

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D); in training mode the codes move afterwards."""
        before = self.codebook[self.search_rows(rows)] if self.training else rows
        coded = super().quantize_rows(rows)
        if self.training:
            self._count(coded.tokens, (rows.detach() - before).square().sum(dim=1))
        return coded

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Codes from latents, and a new window."""
        super().initialize(latents, method, generator)
        for counter in (self.hits, self.errors, self.step):
            counter.zero_()

    def codes_from(self, counts: Tensor, sums: Tensor, rows: Tensor) -> Tensor:
        """Averages."""
        return sums / counts.clamp(min=EPSILON).unsqueeze(1)

    @torch.no_grad()
    def _count(self, tokens: Tensor, errors: Tensor) -> None:
        new = torch.zeros(2, self.codebook_size, device=tokens.device)
        new[0].index_add_(0, tokens, torch.ones_like(errors))
        new[1].index_add_(0, tokens, errors)
        new = sum_over_processes(new)
        finite = new.isfinite().all()
        self.hits.add_(torch.where(finite, new[0], 0.0))
        self.errors.add_(torch.where(finite, new[1], 0.0))
        self.step.add_(finite)
        over = self.step >= self.window
        moved = self._split()
        for buffer, value in zip(self.statistics(), moved, strict=True):
            buffer.copy_(torch.where(over, value, buffer))
        for buffer in (self.hits, self.errors, self.step):
            buffer.mul_(~over)

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, counts and sums after unused codes have joined the costliest clusters; shapes are fixed."""
        unused = self.hits == 0
        costliest = torch.where(unused, -1.0, self.errors).argsort(descending=True, stable=True)
        used = (~unused).sum().clamp(min=1)
        place = (unused.cumsum(0) - 1).clamp(min=0) % used  # the n-th unused code joins the n-th cluster
        own = torch.arange(self.codebook_size, device=unused.device)
        cluster = torch.where(unused & (~unused).any(), costliest[place], own)
        members = torch.zeros_like(self.counts).index_add_(0, cluster, torch.ones_like(self.counts))
        spread = NEAR * (self.errors / self.hits.clamp(min=1) / self.dim).sqrt()
        noise = same_everywhere(torch.randn_like(self.codebook)) * spread[cluster].unsqueeze(1)
        codes = self.codebook[cluster] + torch.where((cluster != own).unsqueeze(1), noise, 0.0)
        counts = self.counts[cluster] / members[cluster]
        return codes, counts, codes * counts.unsqueeze(1)
