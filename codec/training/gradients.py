"""Which weights a pass may teach."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codec.config import LossConfig
from codec.config.run import CodecPart
from codec.model import Codec
from codec.training.discriminators import Discriminators
from codec.training.losses import Judged


def leave_untaught(discriminators: Discriminators, losses: LossConfig) -> None:
    """Take the gradients from families whose own loss has weight 0: they are measured, not trained.

    The data-parallel wrapper would wait for their gradients for ever.
    """
    for name, family in discriminators.items():
        family.requires_grad_(getattr(losses, f"discriminator_{name}") > 0)


def freeze(codec: Codec, parts: Sequence[CodecPart]) -> None:
    """Take the gradients from parts of a codec (``training.frozen``)."""
    for part in parts:
        codec.get_submodule(part).requires_grad_(False)


def into_training(codec: Codec, frozen: Sequence[CodecPart]) -> None:
    """Training mode but for what is frozen: there, codes that move by themselves would move on."""
    codec.train()
    for part in frozen:
        codec.get_submodule(part).eval()


def nothing_of(module: nn.Module) -> Tensor:
    """0, with every weight of the module in its graph: () for the data-parallel wrapper, which waits for all gradients.

    For a bottleneck whose own loss has weight 0: what of it learns from the reconstruction (FSQ's projections) goes on
    to, and the rest gets gradients of zero.
    """
    weights = [weight.sum() for weight in module.parameters() if weight.requires_grad]
    return 0.0 * torch.stack(weights).sum() if weights else torch.zeros(())


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
