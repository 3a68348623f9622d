"""StableVQ's two cures for large codebooks ("StableVQ", 2026): Dynamic STE and the Region VQ loss."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from codec.quantizers.processes import gather_rows, min_over_processes

ELEMENTS = 1 << 24  # distances held at once


def dynamic_gradient(latent: Tensor, quantized: Tensor, tokens: Tensor, codebook_size: int) -> Tensor:
    """The latents (N, D) with their gradient scaled by w, to be passed straight through. For training only.

    w_u = min_v |z_v - e|^2 / |z_u - e|^2 over the latents v of u's code e, in (0, 1]: the nearest passes its gradient
    whole, the others the less, the farther they are. The minimum is over the batches of all processes. A latent on its
    code has w = 1.
    """
    with torch.no_grad():
        distance = (latent - quantized).square().sum(dim=1)  # (N,)
        least = distance.new_full((codebook_size,), torch.inf)
        least = min_over_processes(least.scatter_reduce_(0, tokens, distance, "amin"))
        weight = torch.where(distance > 0, least[tokens] / distance, 1.0).unsqueeze(1)
    scaled = weight * latent
    return latent.detach() + (scaled - scaled.detach())


class Projected(Protocol):
    """A codebook whose rows can be had one by one: SimVQ's."""

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> (N, D), with gradient."""

    def projected_codebook(self) -> Tensor:
        """(K, D), without."""


class RegionLoss(nn.Module):
    """The Region VQ loss: unused codes near a crowded one share in its latents.

    A code unused for ``window`` steps is inactive. Of the codes of this batch, code k with n_k > 1 latents hands their
    mean t_k to its ceil(n_k |inactive| / sum n_l) nearest inactive codes; an inactive code with several such targets
    takes their average. loss = weight * mean over these codes, used and recruited, of |e_k - sg(t_k)|^2 / D: a mean
    over codes, not over latents, so that rare codes move as fast as frequent ones. (The paper sums over D; divided by
    D, the weight means what it means for the term that this one replaces.)

    Latents of all processes count. Sizes follow from the data: the host waits for the device at each step. In eval
    mode there are no inactive codes.
    """

    unused_for: Tensor  # (K,) int64, steps since a code was last chosen

    def __init__(self, codebook_size: int, weight: float, window: int) -> None:
        super().__init__()
        self.weight, self.window = weight, window
        self.register_buffer("unused_for", torch.full((codebook_size,), window))

    def forward(self, latent: Tensor, tokens: Tensor, codebook: Projected) -> Tensor:
        """Latents (N, D) and their tokens (N,) -> ()."""
        with torch.no_grad():
            if self.training:  # validation need not be the same for every process
                latent, tokens = gather_rows(latent), gather_rows(tokens)
            used, targets = self._targets(latent, tokens, codebook)
        return self.weight * (codebook.look_up(used) - targets).square().mean()

    def _targets(self, latent: Tensor, tokens: Tensor, codebook: Projected) -> tuple[Tensor, Tensor]:
        """Codes that this step moves (M,) and where to, (M, D)."""
        used, where, counts = tokens.unique(return_inverse=True, return_counts=True)
        means = latent.new_zeros(len(used), latent.shape[1]).index_add_(0, where, latent) / counts.unsqueeze(1)
        if not (self.training and bool(latent.isfinite().all())):
            return used, means
        self.unused_for.add_(1).clamp_(max=self.window)
        self.unused_for[used] = 0
        inactive = (self.unused_for >= self.window).nonzero().flatten()
        crowded = counts > 1
        if len(inactive) == 0 or not bool(crowded.any()):
            return used, means
        shares = counts[crowded] * len(inactive)
        quotas = -(-shares // counts[crowded].sum())  # ceil
        codes = codebook.projected_codebook()
        sums, hits = _hand_out(codes[used[crowded]], means[crowded], quotas, codes[inactive])
        recruited = hits > 0
        return (
            torch.cat([used, inactive[recruited]]),
            torch.cat([means, sums[recruited] / hits[recruited].unsqueeze(1)]),
        )


def _hand_out(givers: Tensor, targets: Tensor, quotas: Tensor, takers: Tensor) -> tuple[Tensor, Tensor]:
    """Each giver's target goes to as many of its nearest takers as its quota says.

    Args:
        givers: (A, D) codes.
        targets: (A, D) what they hand out.
        quotas: (A,) int64, to how many.
        takers: (I, D) codes.

    Returns:
        Sums of the targets (I, D) and how many arrived (I,).
    """
    sums, hits = torch.zeros_like(takers), takers.new_zeros(len(takers))
    order = quotas.argsort(descending=True, stable=True)  # givers of like quotas go together
    for rows in order.split(max(1, ELEMENTS // len(takers))):
        most = min(int(quotas[rows[0]]), len(takers))
        nearest = torch.cdist(givers[rows], takers).topk(most, dim=1, largest=False).indices  # (n, most)
        within = torch.arange(most, device=quotas.device) < quotas[rows].unsqueeze(1)
        giver, taker = within.nonzero()[:, 0], nearest[within]
        sums.index_add_(0, taker, targets[rows][giver])
        hits.index_add_(0, taker, hits.new_ones(len(taker)))
    return sums, hits
