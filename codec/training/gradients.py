"""Which weights a pass may teach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

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


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through ``module`` but not into it."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
