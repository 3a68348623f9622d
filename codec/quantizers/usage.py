"""Which codes are used and how evenly: the rate-bearing facts, for every bottleneck the same."""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from torch import Tensor
from torch import distributed as dist

from codec.quantizers.processes import process_count, sum_over_processes


class UsageSummary(TypedDict):
    """Facts about a set of tokens."""

    codes_used: int  # codes that occur at least once
    perplexity: float  # 2 ** entropy_bits
    entropy_bits: float  # of the empirical distribution, bits a token
    normalized_entropy: float  # entropy_bits / log2 K; 1 when K = 1


class CodeUsage:
    """Counts tokens on their device; up to ``DENSE`` codes, nothing is read back before :meth:`summary`.

    More codes are not counted one by one: what occurs is held, and as many tokens as wait to be counted.

    Args:
        codebook_size: K.
        device: where tokens are counted.
    """

    def __init__(self, codebook_size: int, device: torch.device | str = "cpu") -> None:
        self.codebook_size = codebook_size
        self.device = torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Forget all counts."""
        sparse = self.codebook_size > DENSE
        # Position k counts code k, or else position n counts code codes[n].
        self._codes = torch.zeros(0, dtype=torch.int64, device=self.device) if sparse else None
        self._counts = torch.zeros(0 if sparse else self.codebook_size, dtype=torch.int64, device=self.device)
        self._waiting: list[tuple[Tensor, Tensor]] = []  # tokens (n,) and how often each came (n,)

    def update(self, tokens: Tensor, times: Tensor | None = None) -> None:
        """Count tokens of any shape, int64 in [0, K); ``times`` (of the same shape) says how often each came."""
        tokens = tokens.to(self.device).flatten()
        times = torch.ones_like(tokens) if times is None else times.to(self.device).flatten()
        if self._codes is None:
            # index_add_ rather than bincount, whose output size makes the host wait for the device.
            self._counts.index_add_(0, tokens, times)
            return
        self._waiting.append((tokens, times))
        if sum(len(part) for part, _ in self._waiting) >= WAITING:
            self._settle()

    def join_processes(self) -> None:
        """Add what the other processes counted; every process must call this."""
        if self._codes is None:
            sum_over_processes(self._counts)
        elif process_count() > 1:
            everyones: list[tuple[Tensor, Tensor]] = [(self._codes, self._counts)] * process_count()
            dist.all_gather_object(everyones, tuple(part.cpu() for part in self.occurring()))
            self.reset()
            for codes, times in everyones:
                self.update(codes, times)

    def occurring(self) -> tuple[Tensor, Tensor]:
        """Codes that occur, in ascending order, and how often: (n,) and (n,) int64 (one synchronisation)."""
        if self._codes is not None:
            self._settle()
            return self._codes, self._counts
        codes = self._counts.nonzero()[:, 0]
        return codes, self._counts[codes]

    def total(self) -> int:
        """Tokens counted (one synchronisation)."""
        return int(self.occurring()[1].sum())

    def summary(self) -> UsageSummary:
        """Read the facts (one synchronisation)."""
        counts = self.occurring()[1].to("cpu", torch.float64)
        share = counts / counts.sum()
        entropy = max(0.0, -(share * share.log2()).sum().item()) if len(share) else 0.0  # max: -0.0 prints badly
        return UsageSummary(
            codes_used=len(share),
            perplexity=2.0**entropy,
            entropy_bits=entropy,
            normalized_entropy=entropy / math.log2(self.codebook_size) if self.codebook_size > 1 else 1.0,
        )

    def _settle(self) -> None:
        """Count what waits."""
        if self._codes is None or not self._waiting:
            return
        tokens = torch.cat([self._codes, *(part for part, _ in self._waiting)])
        times = torch.cat([self._counts, *(part for _, part in self._waiting)])
        self._waiting = []
        self._codes, places = tokens.unique(return_inverse=True)
        self._counts = torch.zeros_like(self._codes).index_add_(0, places, times)


DENSE = 1 << 24  # codes, 128 MB of counts
WAITING = 1 << 22  # tokens, 64 MB with their times
