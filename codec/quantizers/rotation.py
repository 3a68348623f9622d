"""The rotation trick (arXiv 2410.06424): gradients pass the bottleneck rotated and scaled, as the latent was."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from codec.quantizers.base import Coded
from codec.quantizers.codebook import vq_loss
from codec.quantizers.vq import VQ


class RotationVQ(VQ):
    """A learned codebook whose latents learn through :func:`rotated` instead of straight through."""

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        tokens = self.search_rows(rows)
        codes = self.codebook[tokens]
        return Coded(rotated(rows, codes.detach()), tokens, vq_loss(rows, codes, self.beta))


def rotated(latent: Tensor, quantized: Tensor) -> Tensor:
    """The quantised values (N, D) with the gradient of s R z, s and R held constant.

    R turns z onto q, R = I - 2 w w' + 2 q^ z^', with z^, q^ of length 1 and w = (z^ + q^) / |z^ + q^|; s = |q| / |z|.
    """
    z, q = F.normalize(latent, dim=1).detach(), F.normalize(quantized, dim=1)
    w = F.normalize(z + q, dim=1)
    scale = quantized.norm(dim=1, keepdim=True) / latent.detach().norm(dim=1, keepdim=True).clamp(min=1e-6)
    turned = latent - 2 * w * (w * latent).sum(1, keepdim=True) + 2 * q * (z * latent).sum(1, keepdim=True)
    through = scale * turned
    return through + (quantized - through).detach()  # exactly q, also where z = 0 has no direction
