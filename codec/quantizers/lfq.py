"""Sign bits as tokens: look-up-free quantisation (LFQ, arXiv 2310.05737) and its spherical kind (BSQ, 2406.07548)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.config import BSQConfig, LFQConfig
from codec.quantizers.base import Coded, Quantizer, join_digits, split_digits, straight_through
from codec.quantizers.processes import process_count, sum_over_processes
from codec.quantizers.projections import Projections


class LFQ(Quantizer[LFQConfig | BSQConfig]):
    """D -> log2 K dimensions, the sign of each, -> D.

    q_i = sign(z_i) (BSQ: z is first scaled to length 1, and q_i = sign(z_i) / sqrt(log2 K)), straight-through.
    loss = beta * mean((z - sg[q])^2) + weight * (mean_n H(p_n) - gamma * H(mean_n p_n)), entropies in nats: decided
    latents, evenly used codes. With distances as energies, p_n over the K codes is a product over bits,
    p_ni = sigmoid(4 q z_i / temperature), so that H(p_n) is exactly the sum of its bits' entropies and no N x K matrix
    is needed. H(mean p) is taken bit by bit too, the upper bound of the codes' entropy that BSQ uses.
    """

    def __init__(self, dim: int, config: LFQConfig | BSQConfig) -> None:
        super().__init__(dim, config)
        self.config = config
        self.bits = (config.codebook_size - 1).bit_length()
        self.spherical = config.name == "bsq"
        self.size = self.bits**-0.5 if self.spherical else 1.0  # of a code in each dimension
        self.projections = Projections(dim, self.bits)

    def needs_whole_batch(self) -> bool:
        """See :meth:`Quantizer.needs_whole_batch`: how even a batch uses its bits is the entropy of its mean."""
        return self.config.entropy_weight * self.config.diversity > 0

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        z = self._inward(rows)
        positive = z.detach() > 0
        codes = self._signed(positive)
        decided, even = self._entropies(z)
        loss = self.config.commitment * F.mse_loss(z, codes)
        loss = loss + self.config.entropy_weight * (decided - self.config.diversity * even)
        quantized = self.projections.outward(straight_through(z, codes))
        metrics = {"entropy/latent": decided.detach(), "entropy/bits": even.detach()}
        return Coded(quantized, join_digits(positive.long(), [2] * self.bits), loss, metrics)

    def _entropies(self, z: Tensor) -> tuple[Tensor, Tensor]:
        probability = torch.sigmoid(4 * self.size * z / self.config.temperature)  # of a positive bit, (N, bits)
        mean = probability.mean(dim=0)
        if self.training and process_count() > 1:  # the value of all processes, this one's gradient
            mean = mean + (sum_over_processes(mean.detach().clone()) / process_count() - mean.detach())
        return _bit_entropy(probability).sum(dim=1).mean(), _bit_entropy(mean).sum()

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        return join_digits((self._inward(rows) > 0).long(), [2] * self.bits)

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return self.projections.outward(self._signed(split_digits(tokens, [2] * self.bits) > 0))

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Principal components of the latents (N, D) inwards, least squares outwards, whatever the method."""
        z = self.projections.start_inward(latents, generator, whiten=True)
        self.projections.fit_outward(self._signed(z > 0), latents.float())

    def _inward(self, rows: Tensor) -> Tensor:
        z = self.projections.inward(rows)
        return F.normalize(z, dim=1) if self.spherical else z

    def _signed(self, positive: Tensor) -> Tensor:
        return (2 * positive.float() - 1) * self.size


def _bit_entropy(probability: Tensor) -> Tensor:
    p = probability.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log() + (1 - p) * (1 - p).log())
