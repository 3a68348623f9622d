"""Exponential moving average of the generator's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

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
        self._weights: tuple[Codec, list[tuple[Tensor, Tensor]]] | None = None  # ours and those of the codec

    @torch.no_grad()
    def update(self, codec: Codec) -> None:
        """Move towards the present weights: one fused operation for all tensors."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # What moves by itself may be another tensor at every step.
        moving = list(zip(self.codec.quantizer.self_moving(), codec.quantizer.self_moving(), strict=True))
        followed = {id(tensor) for tensor in self.codec.quantizer.averaged_buffers()}
        if self._weights is None or self._weights[0] is not codec:  # collecting them takes longer than moving them
            moved = {id(ours) for ours, _ in moving}
            every = zip(self.codec.parameters(), codec.parameters(), strict=True)
            self._weights = codec, [pair for pair in every if id(pair[0]) not in moved]
        averaged = self._weights[1] + [pair for pair in moving if id(pair[0]) in followed]
        torch._foreach_lerp_([ours for ours, _ in averaged], [theirs for _, theirs in averaged], 1 - decay)
        for ours, theirs in moving:
            if id(ours) not in followed:
                ours.copy_(theirs)
        self.updates += 1

    @torch.no_grad()
    def copy_part(self, name: str, codec: Codec) -> None:
        """Take over a part as it is, after it was set rather than trained."""
        ours: nn.Module = self.codec.get_submodule(name)
        ours.load_state_dict(codec.get_submodule(name).state_dict())
