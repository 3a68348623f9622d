"""What every bottleneck whose codes are the rows of one table does alike."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.quantizers.base import Quantizer, Settings
from codec.quantizers.codebook import nearest_rows, starting_codes


class TableQuantizer(Quantizer[Settings]):
    """Nearest row of ``codebook`` (K, D), which a subclass makes a parameter or a buffer."""

    codebook: Tensor

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Nearest codes, (N, D) -> (N,)."""
        return nearest_rows(rows, self.codebook)

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> codes (N, D)."""
        return self.codebook[tokens]

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Codes from latents (:func:`codec.quantizers.codebook.starting_codes`)."""
        self.codebook.copy_(starting_codes(latents, self.codebook_size, method, generator))
