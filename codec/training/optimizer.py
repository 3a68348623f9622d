"""Optimisers of both sides: groups, rates, and a step that a bad gradient does not take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from codec.config import OptimizerConfig
from codec.model import Codec
from codec.training.muon import Muon, is_hidden_matrix


def build_optimizers(
    codec: Codec, discriminators: nn.Module, config: OptimizerConfig
) -> tuple[list[torch.optim.Optimizer], torch.optim.Optimizer]:
    """AdamW (Adam where ``weight_decay`` is 0) of generator and discriminators, fused; with ``optimizer.name`` "muon",
    the generator has a second optimiser for the hidden matrices of encoder and decoder.

    Groups are named, so that rates are set by name: ``network``, ``quantizer``, ``discriminators``.
    """
    quantizer = list(codec.quantizer.parameters())
    theirs = {id(parameter) for parameter in quantizer}
    named = [(name, parameter) for name, parameter in codec.named_parameters() if id(parameter) not in theirs]
    matrices = [weight for name, weight in named if config.name == "muon" and is_hidden_matrix(name, weight)]
    taken = {id(weight) for weight in matrices}
    network = [weight for _, weight in named if id(weight) not in taken]
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
    generator: list[torch.optim.Optimizer] = [torch.optim.AdamW(generator_groups, **settings)]  # type: ignore[arg-type]
    if matrices:
        generator.append(Muon([{"params": matrices, "name": "network"}], config.lr, config.weight_decay))
    return generator, torch.optim.AdamW(discriminator_groups, **settings)  # type: ignore[arg-type]


def set_rates(optimizer: AcceleratedOptimizer, rates: Mapping[str, float]) -> None:
    """Give every group the rate of its name."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]


@contextmanager
def settings_kept(optimizers: Sequence[AcceleratedOptimizer]) -> Iterator[None]:
    """A checkpoint loaded in this block brings moments, not the settings of its optimisers: those of now hold."""
    kept = [
        [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        for optimizer in optimizers
    ]
    yield
    for optimizer, groups in zip(optimizers, kept, strict=True):
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(settings)


def forget_moments(optimizers: Sequence[AcceleratedOptimizer], parameters: Iterable[nn.Parameter]) -> None:
    """Begin anew with these parameters.

    Steps with gradients of zero count, too: Adam then takes its second moment of 0 for well known, and the first steps
    behind them are several times as long as the rate says.
    """
    for parameter in parameters:
        for optimizer in optimizers:
            optimizer.optimizer.state.pop(parameter, None)


def step_unless(bad: Tensor, optimizer: AcceleratedOptimizer) -> None:
    """Step and clear the gradients; where ``bad`` () bool is true, leave weights and moments as they are.

    The decision stays on the device: fused Adam and Muon take it from ``found_inf``, which is how a gradient scaler
    skips.
    """
    optimizer.optimizer.found_inf = bad.float()
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def set_back_if(bad: Tensor, tensors: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Give tensors the values from before where ``bad`` () bool is true, without asking the device."""
    for tensor, value in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(bad, value, tensor))
