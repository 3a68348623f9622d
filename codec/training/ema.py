"""Exponential moving average of the generator's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from codec.model import Codec


class EMA:
    """An averaged twin of a codec, in eval mode; it is what gets validated, saved and used.

    Weights and what the bottleneck decodes by are averaged, its counters are those of the codec.

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
        if self._followed is None or self._followed[0] is not codec:  # collecting them takes longer than moving them
            self._followed = codec, list(self.codec.parameters()), list(codec.parameters())
        _, ours, theirs = self._followed
        # What moves by the bottleneck's own statistics may be another tensor at every step.
        ours_too, theirs_too = self.codec.quantizer.moving_buffers(), codec.quantizer.moving_buffers()
        torch._foreach_lerp_([*ours, *ours_too], [*theirs, *theirs_too], 1 - decay)
        averaged = {id(tensor) for tensor in (*ours, *ours_too)}
        counters = zip(self.codec.quantizer.self_moving(), codec.quantizer.self_moving(), strict=True)
        for mine, present in counters:  # which say where the training that goes on from this model is
            if id(mine) not in averaged:
                mine.copy_(present)
        self.updates += 1

    @torch.no_grad()
    def copy_part(self, name: str, codec: Codec) -> None:
        """Take over a part as it is, after it was set rather than trained."""
        ours: nn.Module = self.codec.get_submodule(name)
        ours.load_state_dict(codec.get_submodule(name).state_dict())
