"""Exponential moving average of the generator's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from codec.model import Codec


class EMA:
    """An averaged twin of a codec, in eval mode; it is what gets validated, saved and used.

    Weights are averaged; what the bottleneck moves by itself is taken over as it is (:meth:`Quantizer.self_moving`).

    The decay ramps up as (1 + n) / (10 + n) over the first updates, so that random initial weights do not linger.
    """

    def __init__(self, codec: Codec, decay: float) -> None:
        self.codec = copy.deepcopy(codec).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0
        self._followed: tuple[Codec, list[nn.Parameter], list[nn.Parameter]] | None = None

    @torch.no_grad()
    def update(self, codec: Codec) -> None:
        """Move towards the present weights: one fused operation for all tensors."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        ours, theirs = self.codec.quantizer, codec.quantizer
        averaged = {id(tensor) for tensor in ours.averaged_buffers()}
        taken_over = [
            (mine, present)
            for mine, present in zip(ours.self_moving(), theirs.self_moving(), strict=True)
            if id(mine) not in averaged
        ]
        if self._followed is None or self._followed[0] is not codec:  # collecting them takes longer than moving them
            moved = {id(mine) for mine, _ in taken_over}
            pairs = zip(self.codec.parameters(), codec.parameters(), strict=True)
            mine, present = zip(*(pair for pair in pairs if id(pair[0]) not in moved), strict=True)
            self._followed = codec, list(mine), list(present)
        _, weights, present_weights = self._followed
        # Buffers may be other tensors at every step.
        torch._foreach_lerp_(
            [*weights, *ours.averaged_buffers()], [*present_weights, *theirs.averaged_buffers()], 1 - decay
        )
        for mine_, present_ in taken_over:
            mine_.copy_(present_)
        self.updates += 1

    @torch.no_grad()
    def copy_part(self, name: str, codec: Codec) -> None:
        """Take over a part as it is, after it was set rather than trained."""
        ours: nn.Module = self.codec.get_submodule(name)
        ours.load_state_dict(codec.get_submodule(name).state_dict())
