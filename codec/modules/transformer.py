"""A causal transformer over frames whose attention reaches a bounded number of frames back.

Pre-norm blocks with scaled residual branches, as in Mimi (arXiv 2410.00037), whose encoder has such a stage behind its
convolutions (UniCodec, arXiv 2502.20067, takes it over). Instead of rotary positions each head lowers the scores of
frames by their distance (ALiBi, arXiv 2108.12409): nothing then depends on where a frame stands in the recording, so
that hours of it come out like seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import TransformerConfig

INITIAL_SCALE = 0.01  # of the residual branches: a new stage hardly changes what passes


@dataclass
class BlockState:
    """Keys and values of the last ``window - 1`` frames, (B, heads, n, C / heads); None before the first frame."""

    keys: Tensor | None = None
    values: Tensor | None = None


class Block(nn.Module):
    """Attention to the last ``window`` frames, the present one included, then two linear layers; both added."""

    def __init__(self, dim: int, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.window = config.heads, config.window
        self.attention_norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.attention_scale = nn.Parameter(torch.full((dim,), INITIAL_SCALE))
        self.hidden_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, config.expand * dim)
        self.contract = nn.Linear(config.expand * dim, dim)
        self.hidden_scale = nn.Parameter(torch.full((dim,), INITIAL_SCALE))

    def step(self, x: Tensor, state: BlockState) -> Tensor:
        """(B, n, C) -> (B, n, C), n from 1 on; ``state`` is of the frames before and is moved on."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, n, C / heads)
            for part in self.project(self.attention_norm(x)).chunk(3, dim=-1)
        )
        if state.keys is not None and state.values is not None:
            key, value = torch.cat([state.keys, key], dim=2), torch.cat([state.values, value], dim=2)
        kept = min(self.window - 1, key.shape[2])
        mixed = self._attend(query, key, value)
        # Copies: views would keep the whole chunk alive.
        state.keys, state.values = (part[:, :, part.shape[2] - kept :].clone() for part in (key, value))
        x = x + self.attention_scale * self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.hidden_scale * self.contract(F.gelu(self.expand(self.hidden_norm(x))))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Window after window of queries, so that memory grows with the frames and not with their square.

        The last query belongs to the last key.
        """
        n, before = query.shape[2], key.shape[2] - query.shape[2]
        heads = torch.arange(1, self.heads + 1, device=query.device)
        slopes = torch.exp2(-8.0 * heads / self.heads).view(-1, 1, 1)  # ALiBi's, 1/2^(8/H) to 1/2^8
        parts = []
        for start in range(0, n, self.window):
            stop = min(start + self.window, n)
            first = max(0, before + start - self.window + 1)  # oldest key that the first of these queries sees
            own = torch.arange(before + start, before + stop, device=query.device)
            distance = own.unsqueeze(1) - torch.arange(first, before + stop, device=query.device)  # (q, k)
            bias = -slopes * distance  # (heads, q, k)
            bias = bias.masked_fill((distance < 0) | (distance >= self.window), -torch.inf).to(query.dtype)
            keys, values = key[:, :, first : before + stop], value[:, :, first : before + stop]
            parts.append(F.scaled_dot_product_attention(query[:, :, start:stop], keys, values, attn_mask=bias))
        return torch.cat(parts, dim=2)


class CausalTransformer(nn.Module):
    """(B, C, F) -> (B, C, F); frame f sees frames f - layers * (window - 1) to f."""

    def __init__(self, dim: int, config: TransformerConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F) -> (B, C, F)."""
        return self.step(x, self.initial_state())

    def initial_state(self) -> list[BlockState]:
        """Before the first chunk."""
        return [BlockState() for _ in self.blocks]

    def step(self, x: Tensor, state: list[BlockState]) -> Tensor:
        """(B, C, n) -> (B, C, n), n from 0 on; every input completes its own output."""
        if x.shape[-1] == 0:
            return x
        x = x.transpose(1, 2)
        for block, block_state in zip(self.blocks, state, strict=True):
            assert isinstance(block, Block)
            x = block.step(x, block_state)
        return x.transpose(1, 2)
