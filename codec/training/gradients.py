"""Which weights a pass may teach."""

from __future__ import annotations

from torch import Tensor

from codec.config import LossConfig
from codec.model import Codec
from codec.training.discriminators import Discriminators
from codec.training.losses import Judged


def leave_untaught(codec: Codec, discriminators: Discriminators, losses: LossConfig) -> None:
    """Take the gradients from parts whose own loss has weight 0: they are measured, not trained.

    The data-parallel wrapper would wait for their gradients for ever.
    """
    codec.quantizer.requires_grad_(losses.commitment > 0)
    for name, family in discriminators.items():
        family.requires_grad_(getattr(losses, f"discriminator_{name}") > 0)


def detached(judged: Judged) -> Judged:
    """The same feature maps, as constants."""
    return {
        family: [[feature.detach() for feature in features] for features in members]
        for family, members in judged.items()
    }


def stand_in(loss: Tensor, at: Tensor, signal: Tensor) -> Tensor:
    """What has the gradient of ``loss`` on ``signal``, where the graph of ``loss`` ends at a leaf with its values.

    No other leaf gets a gradient, and none is computed for it: weights on the way learn nothing from this loss.

    Args:
        loss: ().
        at: the leaf, of the signal's shape, without a gradient yet.
        signal: with a graph of its own.

    Returns:
        (), to be added to other losses on ``signal``; its value means nothing.
    """
    if not loss.requires_grad:  # every weight is 0
        return loss
    loss.backward(inputs=[at])
    assert at.grad is not None
    return (signal * at.grad).sum()
