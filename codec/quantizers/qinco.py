"""QINCo (arXiv 2401.14732): residual quantisation whose codebooks follow from what was decoded so far."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import QINCoConfig
from codec.quantizers.base import Coded, Quantizer, join_digits, split_digits, straight_through
from codec.quantizers.codebook import finite_latents, starting_codes

ELEMENTS = 1 << 23  # numbers of candidates held at once


class Stage(nn.Module):
    """A code in the light of what is decoded so far: f(e, x) = h_L, h_0 = e + A [e; x] + a,
    h_l = h_(l-1) + U_l relu(V_l h_(l-1)).

    A starts at zero and U next to it: f(e, x) is about e, which is plain residual quantisation.
    """

    def __init__(self, size: int, dim: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(size, dim) * dim**-0.5)
        self.join = nn.Linear(2 * dim, dim)
        self.down = nn.ModuleList(nn.Linear(dim, hidden, bias=False) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(hidden, dim, bias=False) for _ in range(layers))
        self.forget()

    def forget(self, generator: torch.Generator | None = None) -> None:
        """The networks as they start; ``generator`` is one of the processor's."""
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)
        for layer in self.up:
            weight = cast(nn.Linear, layer).weight
            if generator is None:
                nn.init.normal_(weight, std=1e-3)
            else:  # drawn there, wherever the weights are
                drawn = torch.randn(weight.shape, generator=generator, device="cpu")
                with torch.no_grad():
                    weight.copy_(1e-3 * drawn)

    @torch.no_grad()
    def best(self, left: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """Of what is left (n, D) after what is decoded (n, D): which code comes nearest (n,), and its vector (n, D)."""
        codes = self.codebook.expand(len(left), *self.codebook.shape)
        candidates = self(codes, decoded.unsqueeze(1).expand_as(codes))  # (n, k, D)
        index = (left.unsqueeze(1) - candidates).square().sum(dim=2).argmin(dim=1)
        return index, candidates[torch.arange(len(left), device=left.device), index]

    def forward(self, code: Tensor, decoded: Tensor) -> Tensor:
        """Codes (..., D) and what is decoded (..., D) -> (..., D)."""
        h = code + self.join(torch.cat([code, decoded], dim=-1))
        for down, up in zip(self.down, self.up, strict=True):
            h = h + up(torch.relu(down(h)))
        return h


class QINCo(Quantizer[QINCoConfig]):
    """x_0 = 0; k_q = argmin |z - x_(q-1) - f_q(e_k, x_(q-1))|; x_q = x_(q-1) + f_q(e_(k_q), x_(q-1)).

    loss = beta * mean((z - sg[x_Q])^2) + sum over stages of mean((sg[z] - x_q)^2). Encoding runs the network for every
    code of every stage: for small codebooks only.
    """

    def __init__(self, dim: int, config: QINCoConfig) -> None:
        super().__init__(dim, config)
        self.beta = config.commitment
        self.sizes = [config.stage_size] * config.codebooks
        self.parts = nn.ModuleList(Stage(config.stage_size, dim, config.hidden_dim, config.layers) for _ in self.sizes)

    @property
    def stages(self) -> list[Stage]:
        """One for each code of a frame."""
        return cast(list[Stage], list(self.parts))

    def quantize_rows(self, rows: Tensor) -> Coded:
        """A training pass over (N, D)."""
        tokens = self.search_rows(rows)
        partial = self._partial(tokens)
        loss = self.beta * F.mse_loss(rows, partial[-1].detach())
        loss = loss + torch.stack([F.mse_loss(x, rows.detach()) for x in partial]).sum()
        return Coded(straight_through(rows, partial[-1]), tokens, loss)

    @torch.no_grad()
    def search_rows(self, rows: Tensor) -> Tensor:
        """Stage by stage the best code, (N, D) -> (N,)."""
        chunk = max(1, ELEMENTS // (max(self.sizes) * self.dim))
        return torch.cat([self._search(part) for part in rows.split(chunk)])

    def _search(self, rows: Tensor) -> Tensor:
        decoded, digits = torch.zeros_like(rows), []
        for stage in self.stages:
            index, vector = stage.best(rows - decoded, decoded)
            decoded = decoded + vector
            digits.append(index)
        return join_digits(torch.stack(digits, dim=1), self.sizes)

    def look_up(self, tokens: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return self._partial(tokens)[-1]

    def _partial(self, tokens: Tensor) -> list[Tensor]:
        decoded = torch.zeros(len(tokens), self.dim, dtype=torch.float32, device=tokens.device)
        partial = []
        for stage, digit in zip(self.stages, split_digits(tokens, self.sizes).unbind(1), strict=True):
            decoded = decoded + stage(stage.codebook[digit], decoded)
            partial.append(decoded)
        return partial

    @torch.no_grad()
    def initialize(self, latents: Tensor, method: str, generator: torch.Generator) -> None:
        """Each stage's codes from what the ones before leave of latents (N, D); the networks start anew."""
        latents = finite_latents(latents)
        decoded = torch.zeros_like(latents)
        for stage, size in zip(self.stages, self.sizes, strict=True):
            stage.forget(generator)
            stage.codebook.copy_(starting_codes(latents - decoded, size, method, generator))
            chunk = max(1, ELEMENTS // (size * self.dim))
            pairs = zip((latents - decoded).split(chunk), decoded.split(chunk), strict=True)
            decoded = decoded + torch.cat([stage.best(*pair)[1] for pair in pairs])
