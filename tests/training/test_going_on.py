"""What a run takes along over its switch, a resumption or into another run, and what it must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_contents import assert_same

from codec import CodecError, RunConfig
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]


def test_the_bottleneck_begins_at_its_rate_after_the_warmup(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    """Adam's first step is its rate for every weight; after 40 steps of gradients of zero it was up to 1.6 of it."""
    training = {"steps": 100, "bottleneck_warmup": {"share": 0.4}, "discriminator_start": 100}
    optimizer = {"betas": [0.5, 0.9], "warmup_steps": 0, "schedule": "constant", "quantizer_lr": 1e-3}
    trainer = make_trainer(make_config(training=training, optimizer=optimizer))
    trainer.fit(stop_at=40)
    (weight,) = [w for name, w in trainer.plain_codec.quantizer.named_parameters() if name.endswith("weight")]
    trainer._begin_quantizing()
    batches = trainer._batches(40, 43)
    trainer.codec.train()
    steps = []
    for batch in batches:
        before = weight.detach().clone()
        trainer.step([batch])
        steps.append(float((weight.detach() - before).abs().max()) / 1e-3)
    assert steps[0] == pytest.approx(1, abs=0.01)
    assert max(steps) < 1.3


def test_nothing_decays_in_a_bottleneck_that_is_not_used_yet(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    """Its codebook, where it is trained, is what the start takes for normal."""
    quantizer = {"name": "simvq", "trainable_codebook": True}
    trainer = make_trainer(make_config(model={"quantizer": quantizer}, optimizer={"weight_decay": 1.0}))
    before = {name: weight.detach().clone() for name, weight in trainer.plain_codec.quantizer.named_parameters()}
    trainer.fit(stop_at=3)
    assert_same(before, dict(trainer.plain_codec.quantizer.named_parameters()))
    logged = json.loads((trainer.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (logged["lr/quantizer"], logged["lr/network"] > 0) == (0, True)


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_a_resumed_run_has_the_optimisers_settings_that_it_is_given(
    make_config: MakeConfig, make_trainer: MakeTrainer, name: str
) -> None:
    wide = {"decoder": {"dim": 32, "hidden_dim": 32}}  # or there is no matrix for Muon
    make_trainer(make_config(model=wide, optimizer={"name": name})).fit(stop_at=2)
    changed = {"name": name, "betas": [0.8, 0.99], "eps": 1e-5, "weight_decay": 0.1}
    resumed = make_trainer(make_config(model=wide, optimizer=changed), resume=True)
    optimizers = [*resumed.optimizers, resumed.discriminator_optimizer]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    assert len(groups) == (4 if name == "muon" else 3)
    assert {group["weight_decay"] for group in groups} == {0.1}
    assert {(*group["betas"], group["eps"]) for group in groups if "betas" in group} == {(0.8, 0.99, 1e-5)}
    assert resumed.optimizers[0].optimizer.state  # the moments came along
    resumed.fit(stop_at=4)
    assert {group["weight_decay"] for group in groups} == {0.1}


def test_a_run_that_was_stopped_among_bad_steps_can_go_on(
    make_config: MakeConfig, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end was near or said; a lower rate must have its chance."""
    config = make_config(training={"max_bad_steps": 3, "log_every": 6, "steps": 12})
    trainer = make_trainer(config)
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "_batches", lambda *_: iter([torch.full((4, 1, 2400), torch.nan)] * 12))
        trainer.fit(stop_at=5)
        assert int(trainer.bad_steps.worst) == 5
    resumed = make_trainer(config, resume=True)
    resumed.fit()
    assert (resumed.next_step, int(resumed.bad_steps.total), int(resumed.bad_steps.streak)) == (12, 5, 0)


def test_an_old_streak_of_bad_steps_does_not_end_a_run_later(
    make_config: MakeConfig, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(make_config(training={"max_bad_steps": 3, "steps": 8}))
    given = trainer._batches
    bad = torch.full((4, 1, 2400), torch.nan)
    monkeypatch.setattr(
        trainer, "_batches", lambda *at: iter([bad if n in (0, 1, 4, 5) else b for n, b in enumerate(given(*at))])
    )
    trainer.fit()
    assert (trainer.next_step, int(trainer.bad_steps.total), int(trainer.bad_steps.worst)) == (8, 4, 0)


@pytest.mark.parametrize(
    "changed", [{"data": {"validation_crops": 1}}, {"losses": {"mel_scales": [{"n_fft": 512}]}}, {}]
)
def test_best_begins_anew_where_validation_is_another_one(
    make_config: MakeConfig, make_trainer: MakeTrainer, changed: dict[str, dict[str, object]]
) -> None:
    """A loss at other scales or of other crops may be lower for ever, and best/ would never change again."""
    trainer = make_trainer(make_config())
    trainer.best = 1e-3
    trainer.fit(stop_at=2)
    resumed = make_trainer(make_config(**changed), resume=True)
    assert resumed.best == (float("inf") if changed else 1e-3)


def test_a_run_that_is_at_its_end_says_so(
    make_config: MakeConfig, make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make_trainer(make_config(training={"steps": 3})).fit()
    assert "nothing is left" not in caplog.text
    make_trainer(make_config(training={"steps": 2}), resume=True).fit()
    assert "the run is at step 3, and training.steps=2: nothing is left" in caplog.text


def test_counters_of_a_bottleneck_go_into_the_model(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    """CVQ moves codes by how often they were chosen: a model that says never would lose them in its next training."""
    at_once = {"bottleneck_warmup": {"share": 0.0}}
    trained = make_trainer(make_config("one", model={"quantizer": {"name": "cvq"}}, training=at_once))
    trained.fit(stop_at=6)
    shares = trained.plain_codec.quantizer.shares
    assert shares.sum() > 0
    changes = {"init_from": str(trained.run / "last"), "optimizer": {"lr": 1e-9}}
    tuned = make_trainer(make_config("two", model={"quantizer": {"name": "cvq"}}, training=at_once, **changes))
    assert torch.equal(tuned.plain_codec.quantizer.shares, shares)


def test_a_start_from_another_model_says_what_is_not_kept(
    make_config: MakeConfig, make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    trained = make_trainer(make_config("one", training={"steps": 2}))
    trained.fit()
    start = {"init_from": str(trained.run / "last")}
    kept = {"bottleneck_warmup": {"share": 0.0}}
    make_trainer(make_config("same", training=kept, **start))
    assert not [record for record in caplog.records if "init_from" in record.message]
    make_trainer(make_config("warm", **start))
    assert "its codebook is given up and set anew after 4 steps" in caplog.text
    caplog.clear()
    make_trainer(make_config("other", model={"encoder": {"causal": False}}, training=kept, **start))
    assert "other settings" in caplog.text and "model.encoder.causal=True, here False" in caplog.text
    with pytest.raises(
        CodecError, match=r"of another shape .*settings that differ there: model\.decoder\.dim=16, here 24"
    ):
        make_trainer(make_config("wide", model={"decoder": {"dim": 24}}, training=kept, **start))
    with pytest.raises(CodecError, match=rf"here 24; --config {trained.run / 'config.yaml'} has its sizes"):
        make_trainer(make_config("wide", model={"decoder": {"dim": 24}}, training=kept, **start))
    (trained.run / "config.yaml").unlink()
    with pytest.raises(CodecError, match=rf"set model as in {trained.run / 'last' / 'config.json'}"):
        make_trainer(make_config("wide", model={"decoder": {"dim": 24}}, training=kept, **start))
    with pytest.raises(CodecError, match=r"one: is the folder of a run; its model is .*best"):
        make_trainer(make_config("run", training=kept, init_from=str(trained.run)))
    (trained.run / "last" / "config.json").unlink()
    with pytest.raises(CodecError, match=r"config\.json: cannot be read"):
        make_trainer(make_config("bare", training=kept, **start))
    assert not any((tmp_path / name).exists() for name in ("wide", "run", "bare"))


def test_parts_of_another_model_under_a_bottleneck_of_its_own(
    make_config: MakeConfig, make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    """To compare bottlenecks over one encoder and decoder."""
    trained = make_trainer(make_config("one", training={"steps": 2}))
    trained.fit()
    other = {"quantizer": {"name": "ema", "codebook_size": 64}}
    parts = {"init_from": str(trained.run / "last"), "init_parts": ["encoder", "decoder"]}
    tuned = make_trainer(make_config("two", model=other, **parts))
    assert not [record for record in caplog.records if "init_from" in record.message]
    before, after = trained.ema.codec.state_dict(), dict(tuned.plain_codec.state_dict())
    network = {name: value for name, value in before.items() if not name.startswith("quantizer.")}
    assert_same(network, {name: value for name, value in after.items() if not name.startswith("quantizer.")})
    assert after["quantizer.codebook"].shape == (64, 8)
    make_trainer(make_config("cold", model=other, training={"bottleneck_warmup": {"share": 0.0}}, **parts))
    assert "the bottleneck of its own begins at random" in caplog.text
    tuned.fit(stop_at=6)
    decoder = {"init_from": str(trained.run / "last"), "init_parts": ["decoder"]}
    with pytest.raises(CodecError, match=r"settings that differ there: model\.encoder\.latent_dim=8, here 12"):
        make_trainer(make_config("wide", model={"encoder": {"latent_dim": 12}}, **decoder))
    with pytest.raises(CodecError, match=r"init_parts=\['encoder'\] of no model; set init_from too"):
        make_config("three", init_parts=["encoder"])
    for wrong in ([], ["encoder", "encoder"]):
        with pytest.raises(CodecError, match="each part once"):
            make_config("three", init_from="x", init_parts=wrong)


def test_validation_logs_the_commitment_that_training_logs(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(make_config(losses={"normalize_commitment": True}))
    trainer.fit(stop_at=6)
    entries = map(json.loads, (trainer.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    found = {entry["kind"]: entry["loss/commitment"] for entry in entries if entry["step"] == 6}
    assert trainer.latent_variance < 0.5  # or the two would agree anyway
    assert 0.2 < found["validation"] / found["train"] < 5
