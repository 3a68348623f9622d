"""Three remedies of Huh et al. 2023 (arXiv 2305.08842): affine codes, synchronised and alternating updates."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import HuhConfig
from codec.quantizers.base import Coded, Quantizer, straight_through
from codec.quantizers.codebook import nearest_rows, starting_codes
from codec.quantizers.processes import process_count, sum_over_processes


class HuhVQ(Quantizer[HuhConfig]):
    """A learned codebook, with

    - affine codes: s e + m, s = 1 + c S, m = c B, with S and B (D,) shared by the codes of a group and c their rate
      over that of the rest, so that unused codes move along (SimVQ makes a full matrix of this);
    - synchronised updates: z_q = z + sg(z_q - z) + v (z_q - sg(z_q)): the decoder's gradient reaches the codes too;
    - alternating updates: codes first take a step of SGD with momentum towards this batch's latents, then the batch is
      quantised with the new codes, and only the latents' term is left for the optimiser. If a single code took all
      latents, the step would be 2 alternate_lr / D of the way: it diverges where that is more than about 3.

    loss = beta * mean((z - sg[q])^2) + mean((q - sg[z])^2); the second term is left out where no weight learns from it.
    """

    codebook: Tensor  # (K, D): a parameter, or a buffer with alternate_lr
    velocity: Tensor  # (K, D), with alternate_lr

    def __init__(self, dim: int, config: HuhConfig) -> None:
        super().__init__(dim, config)
        self.config = config
        codebook = torch.randn(config.codebook_size, dim) * dim**-0.5
        if config.alternate_lr is None:
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)
            self.register_buffer("velocity", torch.zeros_like(codebook))
        if config.affine_groups:
            self.scale = nn.Parameter(torch.zeros(config.affine_groups, dim))
            self.shift = nn.Parameter(torch.zeros(config.affine_groups, dim))

    def averaged_buffers(self) -> list[Tensor]:
        """The codes, where they move alternately: by steps of gradient descent, as weights do."""
        return [] if self.config.alternate_lr is None else [self.codebook]

    def self_moving(self) -> list[Tensor]:
        """The codes and their momentum, where they move alternately."""
        return [] if self.config.alternate_lr is None else [self.codebook, self.velocity]

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> codes (N, D)."""
        codes = self.codebook[tokens]
        if not self.config.affine_groups:
            return codes
        slope, shift = self._affine(tokens)
        return slope * codes + shift

    def _affine(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """s and m of the codes' groups, (N,) -> (N, D) each."""
        group = tokens // (self.codebook_size // self.config.affine_groups)
        rate = self.config.affine_lr
        return 1 + rate * self.scale[group], rate * self.shift[group]

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        if self.training and self.config.alternate_lr is not None:
            self._step(rows.detach(), self.config.alternate_lr)
        tokens = self.search_rows(rows)
        codes = self.look_up(tokens)
        loss = self.config.commitment * F.mse_loss(rows, codes.detach())
        if codes.requires_grad or not self.training:
            loss = loss + F.mse_loss(codes, rows.detach())
        quantized = straight_through(rows, codes) + self.config.sync * (codes - codes.detach())
        return Coded(quantized, tokens, loss)

    @torch.no_grad()
    def _step(self, rows: Tensor, rate: float) -> None:
        """One step of SGD on mean((s e + m - sg[z])^2) over the latents of all processes."""
        tokens = self.search_rows(rows)
        error = self.look_up(tokens) - rows
        if self.config.affine_groups:
            error = error * self._affine(tokens)[0]
        pull = torch.zeros_like(self.codebook).index_add_(0, tokens, error)
        gradient = sum_over_processes(pull) * (2 / (rows.numel() * process_count()))
        velocity = MOMENTUM * self.velocity + gradient
        finite = velocity.isfinite().all()
        self.velocity.copy_(torch.where(finite, velocity, self.velocity))
        self.codebook.sub_(torch.where(finite, rate * velocity, 0.0))

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Nearest codes, (N, D) -> (N,)."""
        return nearest_rows(rows, self.look_up(torch.arange(self.codebook_size, device=rows.device)))

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Codes from latents (:func:`codec.quantizers.codebook.starting_codes`), the affine map as the identity."""
        self.codebook.copy_(starting_codes(latents, self.codebook_size, method, generator))
        if self.config.alternate_lr is not None:
            self.velocity.zero_()
        if self.config.affine_groups:
            self.scale.zero_()
            self.shift.zero_()


MOMENTUM = 0.9
