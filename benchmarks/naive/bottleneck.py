"""The published bottleneck: the whole codebook projected at every call, all distances in one matrix."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.quantizers.simvq import SimVQ


class Quantized(NamedTuple):
    """What a pass gives."""

    quantized: Tensor  # (B, D, F)
    tokens: Tensor  # (B, F)
    loss: Tensor  # ()


def quantize(quantizer: SimVQ, latent: Tensor) -> Quantized:
    """(B, D, F) -> quantised latents; in training the codebook gets a dense gradient."""
    B, _, frames = latent.shape
    z = latent.transpose(1, 2).contiguous()
    rows = z.view(-1, quantizer.dim)
    codes = quantizer.projection(quantizer.codebook)  # (K, D), with gradient
    distances = (  # (N, K)
        rows.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1) - 2 * torch.einsum("nd,kd->nk", rows, codes)
    )
    indices = distances.argmin(dim=1)
    q = F.embedding(indices, codes).view(z.shape)
    loss = quantizer.beta * (q.detach() - z).square().mean() + (q - z.detach()).square().mean()
    q = z + (q - z).detach()
    return Quantized(q.transpose(1, 2), indices.view(B, frames), loss)


def search(quantizer: SimVQ, latent: Tensor) -> Tensor:
    """(B, D, F) -> tokens (B, F)."""
    return quantize(quantizer, latent).tokens
