"""Muon: what its steps are, and that a run with it keeps the trainer's promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from run_contents import assert_same, weights
from torch import nn

from codec import RunConfig
from codec.training.muon import Muon, is_hidden_matrix, orthogonalized
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]

WIDE = {"decoder": {"dim": 32, "hidden_dim": 48, "group_norm_groups": 4}}  # the other test models have no wide matrix


@pytest.mark.parametrize("shape", [(48, 48), (40, 96), (96, 40)])
def test_singular_values_become_about_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    spread = torch.logspace(0, -2, len(values), dtype=torch.float64)  # a hundredfold between the largest and the least
    found = orthogonalized((left * spread @ right).float()).double()
    core = left.T @ found @ right.T
    assert ((core.diagonal() > 0.6) & (core.diagonal() < 1.3)).all()
    assert (core - core.diagonal().diag()).abs().max() < 0.05  # of bfloat16
    assert values.max() / values.min() > 2


def test_zeros_stay_zeros() -> None:
    assert torch.equal(orthogonalized(torch.zeros(32, 64)), torch.zeros(32, 64))


@pytest.mark.parametrize("shape", [(32, 32), (32, 64, 7), (64, 32, 1)])
def test_a_step_is_as_long_as_one_of_adam(shape: tuple[int, ...]) -> None:
    """Whatever the gradient's size: root mean square 0.2 times the rate, and its own direction at first."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = 1e-3 * torch.randn(shape)
    Muon([weight], lr=0.01).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.2)
    assert float((weight.detach() * weight.grad).sum()) < 0


def test_momentum_carries_on_and_a_bad_step_changes_nothing() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(32, 40))
    optimizer = Muon([weight], lr=0.01, weight_decay=0.1)
    optimizer.found_inf = torch.zeros(())
    weight.grad = torch.randn(32, 40)
    optimizer.step()
    after, momentum = weight.detach().clone(), optimizer.state[weight]["momentum"].clone()
    optimizer.found_inf = torch.ones(())
    weight.grad = torch.full((32, 40), torch.nan)
    optimizer.step()
    assert torch.equal(weight, after) and torch.equal(optimizer.state[weight]["momentum"], momentum)
    optimizer.found_inf = torch.zeros(())
    weight.grad = torch.zeros(32, 40)
    optimizer.step()
    assert float((weight.detach() - after).abs().max()) > 1e-4  # the momentum still moves it


def test_which_weights_are_its_own(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(make_config(model=WIDE, optimizer={"name": "muon"}))
    adam, muon = (
        {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        for optimizer in trainer.optimizers
    )
    names = {id(weight): name for name, weight in trainer.plain_codec.named_parameters()}
    assert not adam & muon and adam | muon == set(names)
    theirs = {names[key] for key in muon}
    assert "decoder.backbone.blocks.0.expand.weight" in theirs and "decoder.backbone.mixer.0.conv1.weight" in theirs
    assert not any(name.startswith(("quantizer", "decoder.head")) or "depthwise" in name for name in theirs)
    assert not is_hidden_matrix("decoder.backbone.norm.weight", torch.ones(64))


def test_resumed_is_undisturbed_and_bad_steps_are_skipped(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    settings = {"model": WIDE, "optimizer": {"name": "muon"}}
    whole = make_trainer(make_config(output="whole", **settings))
    whole.fit()
    first = make_trainer(make_config(output="parts", **settings))
    first.fit(stop_at=6)
    second = make_trainer(first.config, resume=True)
    assert second.next_step == 6
    second.fit()
    assert_same(weights(whole), weights(second))
    before = {name: value.clone() for name, value in weights(second).items() if not name.startswith("ema.")}
    second.step([torch.full((4, 1, 2400), torch.nan)])
    assert_same(before, {name: value for name, value in weights(second).items() if not name.startswith("ema.")})
