"""Which codes are used and how evenly: the rate-bearing facts, for every bottleneck the same."""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from torch import Tensor


class UsageSummary(TypedDict):
    """Facts about a set of tokens."""

    codes_used: int  # codes that occur at least once
    perplexity: float  # 2 ** entropy_bits
    entropy_bits: float  # of the empirical distribution, bits a token
    normalized_entropy: float  # entropy_bits / log2 K; 1 when K = 1


class CodeUsage:
    """Counts tokens on their device; nothing is read back before :meth:`summary`.

    Over several processes, sum ``counts`` (it is one (K,) int64 tensor) before asking for the summary.
    """

    def __init__(self, codebook_size: int, device: torch.device | str = "cpu") -> None:
        self.codebook_size = codebook_size
        self.counts = torch.zeros(codebook_size, dtype=torch.int64, device=device)

    def update(self, tokens: Tensor) -> None:
        """Count tokens of any shape, int64 in [0, K)."""
        tokens = tokens.to(self.counts.device).flatten()
        # index_add_ rather than bincount, whose output size makes the host wait for the device.
        self.counts.index_add_(0, tokens, torch.ones_like(tokens))

    def reset(self) -> None:
        """Forget all counts."""
        self.counts.zero_()

    def summary(self) -> UsageSummary:
        """Read the facts (one synchronisation)."""
        counts = self.counts.to("cpu", torch.float64)
        share = counts[counts > 0] / counts.sum()
        entropy = max(0.0, -(share * share.log2()).sum().item()) if len(share) else 0.0  # max: -0.0 prints badly
        return UsageSummary(
            codes_used=len(share),
            perplexity=2.0**entropy,
            entropy_bits=entropy,
            normalized_entropy=entropy / math.log2(self.codebook_size) if self.codebook_size > 1 else 1.0,
        )
