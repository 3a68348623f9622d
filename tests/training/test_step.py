"""One step of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_contents import assert_same, weights
from torch.utils._python_dispatch import TorchDispatchMode

from codec import CodecError, RunConfig
from codec.quantizers.simvq import SimVQ
from codec.training.gradients import stand_in
from codec.training.losses import generator_terms
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer(make_config(training={"bottleneck_warmup": {"share": 0.0}, "discriminator_start": 0}))
    trainer.codec.train()
    batches = trainer._batches(0, 8)
    good = next(batches)
    trainer.step([good])
    before = {name: value.clone() for name, value in weights(trainer).items() if not name.startswith("ema.")}
    moments = {id(p): s["exp_avg"].clone() for p, s in trainer.optimizers[0].optimizer.state.items()}
    trainer.step([torch.full_like(good, torch.nan)])
    assert_same(before, {name: value for name, value in weights(trainer).items() if not name.startswith("ema.")})
    for parameter, state in trainer.optimizers[0].optimizer.state.items():
        assert torch.equal(state["exp_avg"], moments[id(parameter)])
        assert state["step"] == 1
    assert (int(trainer.bad_steps.total), int(trainer.bad_steps.streak)) == (1, 1)
    trainer.step([next(batches)])
    assert (int(trainer.bad_steps.total), int(trainer.bad_steps.streak), int(trainer.bad_steps.worst)) == (1, 0, 1)
    assert not torch.equal(before["codec.decoder.head.out.bias"], trainer.plain_codec.decoder.head.out.bias)


class _Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_step_does_not_wait_for_the_device(
    make_config: MakeConfig, make_trainer: MakeTrainer, optimizer: str
) -> None:
    """None of the operations that read a value back to the host, or whose result's size depends on values."""
    at_once = {"bottleneck_warmup": {"share": 0.0}, "discriminator_start": 0}
    wide = {"decoder": {"dim": 32, "hidden_dim": 32}}  # or there is no matrix for Muon
    trainer = make_trainer(make_config(model=wide, optimizer={"name": optimizer}, training=at_once))
    assert len(trainer.optimizers) == (2 if optimizer == "muon" else 1)
    quantizer = trainer.plain_codec.quantizer
    assert isinstance(quantizer, SimVQ)
    quantizer._search.screened = ()  # the search that devices other than processors get
    trainer.codec.train()
    batches = trainer._batches(0, 2)
    trainer.step([next(batches)])
    batch = next(batches)
    with _Operations() as operations:
        trainer.step([batch])
    waiting = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "_unique2"}
    assert operations.names & waiting == set()
    assert {"convolution_backward", "_fused_adamw_", "index_add_"} <= operations.names  # it saw the whole step


def test_a_run_of_bad_steps_stops_with_advice(
    make_config: MakeConfig, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(make_config(training={"max_bad_steps": 3}))
    monkeypatch.setattr(trainer, "_batches", lambda *_: iter([torch.full((4, 1, 2400), torch.nan)] * 12))
    with pytest.raises(CodecError, match=r"4 steps in a row .* lower optimizer\.lr or set optimizer\.clip_norm"):
        trainer.fit()
    assert trainer.next_step == 4


def test_discriminators_do_not_learn_from_the_generators_loss(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    """In the generator's pass no discriminator weight gets a gradient, and real features carry none."""
    trainer = make_trainer(make_config())
    discriminators = trainer.plain_discriminators
    fake = torch.randn(2, 1, 2400, requires_grad=True)
    with torch.no_grad():
        on_real = discriminators(torch.randn(2, 1, 2400))
    leaf = fake.detach().requires_grad_()
    terms = generator_terms(discriminators(leaf), on_real)
    stand_in(torch.stack(list(terms.values())).sum(), leaf, fake).backward()
    (direct,) = torch.autograd.grad(
        torch.stack(list(generator_terms(discriminators(fake), on_real).values())).sum(), fake
    )
    assert torch.equal(fake.grad, direct)
    assert fake.grad is not None and fake.grad.any()
    assert all(p.grad is None for p in discriminators.parameters())
    assert all(p.requires_grad for p in discriminators.parameters())


@pytest.mark.parametrize(("name", "learns"), [("fsq", True), ("simvq", False)])
def test_a_bottleneck_whose_own_loss_does_not_count_learns_from_the_reconstruction(
    make_config: MakeConfig, make_trainer: MakeTrainer, name: str, learns: bool
) -> None:
    """FSQ has no loss of its own at all; SimVQ's codes hear of the reconstruction only through theirs."""
    changes = {"losses": {"commitment": 0.0}, "training": {"bottleneck_warmup": {"share": 0.0}}}
    trainer = make_trainer(make_config(model={"quantizer": {"name": name}}, **changes))
    trainer.codec.train()
    after = list(trainer.plain_codec.quantizer.parameters())
    before = [weight.detach().clone() for weight in after]
    given = []
    for weight in after:
        weight.register_post_accumulate_grad_hook(lambda weight: given.append(id(weight)))
    trainer.step(list(trainer._batches(0, 1)))
    assert sorted(given) == sorted(map(id, after))  # the data-parallel wrapper waits for all of them
    assert [torch.equal(old, new) for old, new in zip(before, after, strict=True)] == [not learns] * len(before)


def test_one_step_equals_the_published_order(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    """Generator step against the old discriminators, then their step on the same reconstruction, both by Adam."""
    import copy

    from codec.training.losses import discriminator_terms, weighted_sum

    config = make_config(
        training={"bottleneck_warmup": {"share": 0.0}, "discriminator_start": 0},
        model={"decoder": {"dropout": 0.0}},
        optimizer={"clip_norm": None, "discriminator_lr": 1e-2},  # fast enough for the order to matter
    )
    trainer = make_trainer(config)
    trainer.codec.train()
    start = copy.deepcopy((trainer.plain_codec, trainer.plain_discriminators))
    codec, discriminators = copy.deepcopy(start)
    adam = torch.optim.Adam(codec.parameters(), lr=1e-3, betas=(0.5, 0.9))
    adam_of_discriminators = torch.optim.Adam(discriminators.parameters(), lr=1e-2, betas=(0.5, 0.9))
    for real in [next(trainer._batches(0, 1)), next(trainer._batches(1, 2))]:
        trainer.step([real])

        output = codec(real)
        terms = {"mel": trainer.mel(output.audio, real), "commitment": output.quantizer.loss}
        terms |= generator_terms(discriminators(output.audio), discriminators(real))
        adam.zero_grad()
        weighted_sum(terms, config.losses).backward()
        adam.step()
        adam_of_discriminators.zero_grad()
        fake = output.audio.detach()
        weighted_sum(discriminator_terms(discriminators(fake), discriminators(real)), config.losses).backward()
        adam_of_discriminators.step()
    for ours, plain, old in zip(
        (trainer.plain_codec, trainer.plain_discriminators), (codec, discriminators), start, strict=True
    ):
        moved, apart = (
            torch.cat([(p - q).flatten() for p, q in zip(ours.parameters(), other.parameters(), strict=True)]).norm()
            for other in (old, plain)
        )
        # Not every weight by itself: Adam blows up gradients that are zero but for rounding.
        assert apart < 0.05 * moved


@pytest.mark.parametrize("losses", [{}, {"mel": 0.0, "loudness": 60.0}], ids=str)
def test_micro_batches_add_up_to_the_whole_batch(
    make_config: MakeConfig, make_trainer: MakeTrainer, losses: dict[str, float]
) -> None:
    changes = {
        "model": {"decoder": {"dropout": 0.0}},
        "losses": losses,
        "training": {"bottleneck_warmup": {"share": 0.0}},
        "optimizer": {"eps": 1e-5},
    }
    whole = make_trainer(make_config("one", **changes))
    (batch,) = whole._batches(0, 1)
    batch = batch * torch.tensor([1.0, 0.5, 0.1, 0.02]).view(4, 1, 1)  # a loud half and a faint one
    whole.codec.train()
    whole.step([batch])
    changes["training"]["accumulate"] = 2
    halves = make_trainer(make_config("two", **changes))
    halves.codec.train()
    halves.step(list(batch.split(2)))
    assert halves.next_step == 1
    for (name, value), other in zip(whole.plain_codec.named_parameters(), halves.plain_codec.parameters(), strict=True):
        torch.testing.assert_close(value, other, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    "settings",
    [{"name": "ema"}, {"name": "dare"}, {"name": "cvq"}, {"name": "huh", "alternate_lr": 1.0}, {"region": 1.0}],
    ids=str,
)
def test_a_bad_gradient_moves_nothing_of_bottlenecks_that_move_by_themselves(
    make_config: MakeConfig, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    """Latents are finite, so the bottleneck has moved by the time that the gradient turns out bad."""
    changes = {"bottleneck_warmup": {"share": 0.0}, "discriminator_start": 12}
    trainer = make_trainer(make_config(model={"quantizer": settings}, training=changes))
    trainer.codec.train()
    batches = trainer._batches(0, 3)
    trainer.step([next(batches)])
    before = {name: value.clone() for name, value in trainer.plain_codec.state_dict().items()}
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_clip", lambda module: torch.tensor(torch.nan))
        trainer.step([next(batches)])
    assert int(trainer.bad_steps.total) == 1
    state = trainer.plain_codec.state_dict()
    assert [name for name in before if not torch.equal(before[name], state[name])] == []
    trainer.step([next(batches)])
    assert int(trainer.bad_steps.total) == 1
    assert not all(torch.equal(before[name], value) for name, value in state.items() if name.startswith("quantizer."))


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "ema"},
        {"name": "cvq"},
        {"region": 1.0},
        {"ste": "dynamic"},
        {"name": "lfq"},
        {"name": "bsq"},
        {"name": "vqwae"},
    ],
    ids=str,
)
def test_bottlenecks_that_want_whole_batches_take_no_micro_batches(
    make_config: MakeConfig, make_trainer: MakeTrainer, settings: dict[str, object]
) -> None:
    config = make_config(model={"quantizer": settings}, training={"accumulate": 2})
    with pytest.raises(CodecError, match=rf"accumulate=2: .*name={settings.get('name', 'simvq')} .*accumulate=1"):
        make_trainer(config)
    assert not Path(config.output).exists()
