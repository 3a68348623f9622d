"""VQ-WAE (arXiv 2302.05917): codes and latents meet by optimal transport, every code with an equal share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from codec.config import VQWAEConfig
from codec.quantizers.base import Coded, straight_through
from codec.quantizers.processes import gather_rows, process_count
from codec.quantizers.vq import VQ


class VQWAE(VQ):
    """A learned codebook whose loss is the transport cost W between the batch and the codes, both with equal weights.

    loss = beta * W / D, W = min_P sum P_nk |z_n - e_k|^2 over plans with sums 1/N and 1/K; it takes the place of both
    terms of the plain loss. P comes from log-domain Sinkhorn steps (entropic, ``entropy`` times the mean cost) in place
    of the paper's exact solver or dual network, and is constant for the gradient. Holds an N x K matrix while training.
    """

    def __init__(self, dim: int, config: VQWAEConfig) -> None:
        super().__init__(dim, config)
        self.config = config

    def needs_whole_batch(self) -> bool:
        """See :meth:`Quantizer.needs_whole_batch`: the plan shares all codes among the batch."""
        return True

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        tokens = self.search_rows(rows)
        everyone = gather_rows(rows) if self.training else rows.detach()
        with torch.no_grad():
            cost = torch.cdist(everyone, self.codebook).square()  # (all N, K)
            plan = transport_plan(cost, self.config.entropy, self.config.iterations)
            if self.training and process_count() > 1:  # this process' rows of it; data-parallel training averages
                plan = plan.view(process_count(), len(rows), -1)[torch.distributed.get_rank()] * process_count()
        transport = (
            (plan.sum(dim=1) * rows.square().sum(dim=1)).sum()
            + (plan.sum(dim=0) * self.codebook.square().sum(dim=1)).sum()
            - 2 * (rows * (plan @ self.codebook)).sum()
        )
        loss = self.beta * transport / self.dim
        return Coded(straight_through(rows, self.codebook[tokens]), tokens, loss)


def transport_plan(cost: Tensor, entropy: float, iterations: int) -> Tensor:
    """Entropic optimal transport between equal weights by Sinkhorn's iteration in the log domain.

    Args:
        cost: (N, K), >= 0.
        entropy: regularisation over the mean cost.
        iterations: of rows and columns.

    Returns:
        The plan (N, K): rows sum to 1/N (exactly), columns to 1/K (in the limit).
    """
    N, K = cost.shape
    score = -cost / (entropy * cost.mean().clamp(min=1e-12))
    columns = cost.new_zeros(K)
    rows = cost.new_zeros(N)
    for _ in range(iterations):
        columns = -math.log(K) - (score + rows.unsqueeze(1)).logsumexp(dim=0)
        rows = -math.log(N) - (score + columns).logsumexp(dim=1)
    return (score + rows.unsqueeze(1) + columns).exp()
