"""Whether a module's weights are still those that something was prepared from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SAMPLE = 64  # values of each tensor that are compared


class WeightsSeen:
    """The weights of a module at one moment.

    Assignment and in-place operations show in address and version. Fused optimisers raise no version, so that a spread
    sample of every tensor's values is compared as well: a step of training moves all of them.
    """

    def __init__(self, module: nn.Module) -> None:
        self._identities, self._sample = _look(module)

    def unchanged(self, module: nn.Module) -> bool:
        """Whether ``module`` still has these weights."""
        identities, sample = _look(module)
        return identities == self._identities and torch.equal(sample, self._sample)


def _look(module: nn.Module) -> tuple[list[tuple[int, int, torch.dtype, torch.device]], Tensor]:
    tensors = [*module.parameters(), *module.buffers()]
    identities = [(t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype, t.device) for t in tensors]
    samples = [t.detach().flatten()[:: max(1, t.numel() // SAMPLE)].float() for t in tensors]
    return identities, torch.cat(samples)
