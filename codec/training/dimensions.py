"""How many directions vectors really fill: what tells a codebook that lives from one that has collapsed."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.quantizers import Quantizer

CODES = 20_000  # at most this many rows of a codebook
SHUFFLED = 1 << 24  # codes beyond which a shuffle of all is too large


def effective_dimension(vectors: Tensor, share: float = 0.99) -> int:
    """Principal components of (N, D) that hold ``share`` of the variance; 0 where nothing varies."""
    vectors = vectors.cpu().double()  # not every device has float64
    centred = vectors - vectors.mean(dim=0)
    variances = torch.linalg.eigvalsh(centred.T @ centred / len(centred)).clamp(min=0).flip(0)
    total = variances.sum()
    if total <= 0:
        return 0
    return int((variances.cumsum(0) < share * total).sum()) + 1


@torch.no_grad()
def codebook_sample(quantizer: Quantizer, device: torch.device, seed: int = 0) -> Tensor:
    """Up to 20,000 codes of any bottleneck, drawn without repetition: (N, D)."""
    size, generator = quantizer.codebook_size, torch.Generator().manual_seed(seed)
    if size <= SHUFFLED:
        tokens = torch.randperm(size, generator=generator)[:CODES]
    else:  # a dozen of 20,000 at most come twice, and are left out
        tokens = torch.randint(size, (CODES,), generator=generator).unique()
    return quantizer.decode(tokens.to(device).unsqueeze(0))[0].T
