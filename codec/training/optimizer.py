"""Adam for both sides: groups, rates, and a step that a bad gradient does not take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from codec.config import OptimizerConfig
from codec.model import Codec


def build_optimizers(
    codec: Codec, discriminators: nn.Module, config: OptimizerConfig
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """AdamW (Adam where ``weight_decay`` is 0) of generator and discriminators, fused.

    Groups are named, so that rates are set by name: ``network``, ``quantizer``, ``discriminators``.
    """
    quantizer = list(codec.quantizer.parameters())
    theirs = {id(parameter) for parameter in quantizer}
    network = [parameter for parameter in codec.parameters() if id(parameter) not in theirs]
    settings = {
        "lr": config.lr,
        "betas": config.betas,
        "eps": config.eps,
        "weight_decay": config.weight_decay,
        "fused": True,
    }
    generator_groups = [{"params": network, "name": "network"}, {"params": quantizer, "name": "quantizer"}]
    # A run without discriminators still has an optimiser: an empty group keeps one path through the code.
    discriminator_groups = [{"params": list(discriminators.parameters()), "name": "discriminators"}]
    return (
        torch.optim.AdamW(generator_groups, **settings),  # type: ignore[arg-type]
        torch.optim.AdamW(discriminator_groups, **settings),  # type: ignore[arg-type]
    )


def set_rates(optimizer: AcceleratedOptimizer, rates: Mapping[str, float]) -> None:
    """Give every group the rate of its name."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]


def step_unless(bad: Tensor, optimizer: AcceleratedOptimizer) -> None:
    """Step and clear the gradients; where ``bad`` () bool is true, leave weights and moments as they are.

    The decision stays on the device: fused Adam takes it from ``found_inf``, which is how a gradient scaler skips.
    """
    optimizer.optimizer.found_inf = bad.float()
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def set_back_if(bad: Tensor, tensors: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Give tensors the values from before where ``bad`` () bool is true, without asking the device."""
    for tensor, value in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(bad, value, tensor))
