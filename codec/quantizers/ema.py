"""A codebook of moving averages (VQ-VAE, arXiv 1711.00937, appendix A.1), as EnCodec and WavTokenizer train theirs."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.config import EMAConfig, JukeboxConfig
from codec.quantizers.base import Coded, Settings, straight_through
from codec.quantizers.processes import gather_rows, same_everywhere, sum_over_processes
from codec.quantizers.table import TableQuantizer


class MovingAverages(TableQuantizer[Settings]):
    """What systems share whose codes are e_k = s_k / n_k, moving averages over steps (without gradients):

    n_k <- g n_k + (1 - g) c_k,  s_k <- g s_k + (1 - g) sum of the c_k latents of this step that chose k.

    Before the first step n_k = 1 (``start``), e_k ~ N(0, 1/D) and s_k = n_k e_k. Counts and sums are those of all
    processes. A batch with latents that are not finite moves nothing. loss = beta * mean((z - sg[q])^2): codes need
    none.
    """

    codebook: Tensor  # (K, D)
    counts: Tensor  # n, (K,)
    sums: Tensor  # s, (K, D)

    def __init__(self, dim: int, config: Settings, decay: float, start: float = 1.0) -> None:
        super().__init__(dim, config)
        self.beta, self.decay, self.start = config.commitment, decay, start
        codebook = torch.randn(config.codebook_size, dim) * dim**-0.5
        self.register_buffer("codebook", codebook)
        self.register_buffer("counts", torch.full((config.codebook_size,), start))
        self.register_buffer("sums", start * codebook)

    def statistics(self) -> list[Tensor]:
        """Codes, n and s."""
        return [self.codebook, self.counts, self.sums]

    def self_moving(self) -> list[Tensor]:
        """Codes and statistics."""
        return self.statistics()

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D); in training mode the codes move afterwards."""
        tokens = self.search_rows(rows)
        codes = self.codebook[tokens]
        loss = self.beta * F.mse_loss(rows, codes)
        quantized = straight_through(rows, codes)
        if self.training:
            self._move(rows.detach(), tokens)
        return Coded(quantized, tokens, loss)

    @torch.no_grad()
    def _move(self, rows: Tensor, tokens: Tensor) -> None:
        counts, sums = self.weighed(*step_statistics(rows, tokens, len(self.counts)))
        counts, sums = torch.lerp(counts, self.counts, self.decay), torch.lerp(sums, self.sums, self.decay)
        finite = sums.isfinite().all()  # before restarts, which may replace what is not
        moved = self.codes_from(counts, sums, rows)
        for buffer, value in zip(self.statistics(), (moved, counts, sums), strict=True):
            buffer.copy_(torch.where(finite, value, buffer))

    def weighed(self, counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """What this step's counts (K,) and sums (K, D) add to n and s: themselves, where a latent counts one."""
        return counts, sums

    @abstractmethod
    def codes_from(self, counts: Tensor, sums: Tensor, rows: Tensor) -> Tensor:
        """n (K,), s (K, D) and this process' latents (N, D) -> codes (K, D)."""

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Codes from latents (:func:`codec.quantizers.codebook.starting_codes`), n_k as before the first step."""
        super().initialize(latents, method, generator)
        self.counts.fill_(self.start)
        self.sums.copy_(self.start * self.codebook)


class EMAVQ(MovingAverages[EMAConfig]):
    """Moving averages and nothing else: e_k = s_k / n~_k, n~_k = (n_k + eps) / (n + K eps) * n with n = sum n_k.

    (Laplace smoothing, eps = 1e-5, as in the published code.) Codes that nobody chooses any more shrink to zero.
    """

    def __init__(self, dim: int, config: EMAConfig) -> None:
        super().__init__(dim, config, config.decay)

    def codes_from(self, counts: Tensor, sums: Tensor, rows: Tensor) -> Tensor:
        """Averages with smoothed counts."""
        total = counts.sum()
        smooth = (counts + EPSILON) / (total + len(counts) * EPSILON) * total
        return sums / smooth.unsqueeze(1)


class JukeboxVQ(MovingAverages[JukeboxConfig]):
    """Random restart (Jukebox, arXiv 2005.00341): a code becomes a random latent of this step where n_k is below
    ``restart_below``, and n_k, s_k start again from it.

    n_k counts in units of even use: a latent adds K / N, so that the mean of all n tends to 1 whatever K and N are, and
    the threshold is a share of it. (Published: one latent counts 1 and the threshold is 1.0, which for fewer latents a
    step than codes would restart even codes in use.) As published, n_k begins at the threshold: what the first step
    does not choose restarts at once, which is how random codes get their start from latents. Of k-means centres that
    leaves the chosen ones; with n_k = 1 they would all stay, and where latents move on restarts would come too late
    (docs/bottlenecks.md has both). (The published code leaves
    n_k and s_k as they were, so that a restarted code is drawn anew at every step until latents have chosen it often
    enough.) Of too few latents for K codes, each is drawn several times, with noise of 0.01 / sqrt(D) as published.
    """

    def __init__(self, dim: int, config: JukeboxConfig) -> None:
        super().__init__(dim, config, config.decay, start=config.restart_below)
        self.restart_below = config.restart_below

    def weighed(self, counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """A latent counts K / N."""
        return in_even_use(counts, sums)

    def codes_from(self, counts: Tensor, sums: Tensor, rows: Tensor) -> Tensor:
        """Averages, or latents where there is too little to average; changes ``counts`` and ``sums`` there."""
        changed = restarted(counts, sums, gather_rows(rows), self.restart_below)
        counts.copy_(changed[0])
        sums.copy_(changed[1])
        return sums / counts.clamp(min=EPSILON).unsqueeze(1)


def step_statistics(rows: Tensor, chosen: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many latents (N, D) of all processes chose (N,) each of ``size`` codes, (K,), and their sums, (K, D)."""
    counts = rows.new_zeros(size).index_add_(0, chosen, rows.new_ones(len(rows)))
    sums = rows.new_zeros(size, rows.shape[1]).index_add_(0, chosen, rows)
    return sum_over_processes(counts), sum_over_processes(sums)


def in_even_use(counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Statistics of a step in units of even use, N / K: counts (K,), which add up to N, then have the mean 1."""
    weight = len(counts) / counts.sum().clamp(min=1)
    return counts * weight, sums * weight


def restarted(counts: Tensor, sums: Tensor, rows: Tensor, below: float) -> tuple[Tensor, Tensor]:
    """Statistics n (K,), s (K, D), begun anew at n = ``below`` from random rows of (N, D) where n is less."""
    restart = counts < below
    fresh = random_latents(rows, len(counts)) * below
    return torch.where(restart, below, counts), torch.where(restart.unsqueeze(1), fresh, sums)


def random_latents(rows: Tensor, count: int) -> Tensor:
    """``count`` rows of (N, D) in random order, the same on every process; noise where N < count."""
    N, D = rows.shape
    order = same_everywhere(torch.argsort(torch.rand(N, device=rows.device)))
    picked = rows[order.repeat(-(-count // N))[:count]]
    if count > N:
        picked = picked + same_everywhere(torch.randn_like(picked)) * (0.01 / D**0.5)
    return picked


EPSILON = 1e-5
