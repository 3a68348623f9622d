"""Cross-entropy over a large vocabulary, never with all its logits at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from codec.lm.packing import IGNORED


def token_losses(hidden: Tensor, table: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """-ln p of each target; ``chunk`` positions at a time, whose logits are computed again in the backward pass.

    N positions over V words would take N * V numbers, and as many gradients: 8 sequences of 2,048 over 262,146 words
    17 GB in float32. Here ``chunk`` * V.

    Args:
        hidden: (N, D) the network's outputs.
        table: (V, D) output embeddings.
        targets: (N,) int64; IGNORED has loss 0.
        chunk: positions at a time.

    Returns:
        (N,) float32, in nats.
    """
    pieces = []
    for start in range(0, len(hidden), chunk):
        own = hidden[start : start + chunk], table, targets[start : start + chunk]
        if torch.is_grad_enabled():
            # Nothing in it is random: no state of a generator to keep.
            pieces.append(checkpoint(_losses, *own, use_reentrant=False, preserve_rng_state=False))
        else:
            pieces.append(_losses(*own))
    return torch.cat(pieces)


def _losses(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, table).float()  # (n, V); the sum over V needs more than bfloat16
    return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
