from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_contents import assert_same, lines, weights

from codec import Codec, CodecError, RunConfig
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]


def test_a_run_leaves_what_the_design_says(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    config = make_config()
    make_trainer(config).fit()
    run = Path(config.output)
    assert {"config.yaml", "metrics.jsonl", "tensorboard", "checkpoints", "best", "last"} <= {
        path.name for path in run.iterdir()
    }
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step_12", "step_6"]
    entries = lines(run)
    assert [entry["step"] for entry in entries if entry["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [entry["step"] for entry in entries if entry["kind"] == "switch"] == [4]
    last = [entry for entry in entries if entry["kind"] == "train"][-1]
    for name in ("mel", "commitment", "adversarial_dac", "feature_period", "discriminator_resolution"):
        assert f"loss/{name}" in last
    for name in (
        "codes_used",
        "perplexity",
        "grad_norm/generator",
        "grad_norm/discriminator",
        "lr/quantizer",
        "bad_steps",
    ):
        assert name in last
    for name in ("best", "last"):
        codec = Codec.from_pretrained(run / name, device="cpu")
        assert codec.decode(codec.encode(torch.zeros(1000))).shape == (1, 1, 1000)
    mel = {e["step"]: e["loss/mel"] for e in entries if e["kind"] == "validation" and e["step"] > 4}  # after the switch
    steps = {name: json.loads((run / name / "training.json").read_text())["step"] for name in ("best", "last")}
    assert steps == {"best": min(mel, key=lambda step: mel[step]), "last": 12}


@pytest.mark.parametrize("stop_at", [2, 4, 6])  # within the warm-up, at the switch, after it
def test_resumed_equals_undisturbed_bit_for_bit(
    make_config: MakeConfig, make_trainer: MakeTrainer, stop_at: int
) -> None:
    undisturbed = make_trainer(make_config("one"))
    undisturbed.fit()
    config = make_config("two")
    make_trainer(config).fit(stop_at=stop_at)
    resumed = make_trainer(config, resume=True)
    assert resumed.next_step == stop_at
    resumed.fit()
    assert_same(weights(undisturbed), weights(resumed))
    by_step = {(e["step"], e["kind"]): e for e in lines(undisturbed.run)}
    for entry in lines(resumed.run):  # validation at the stop is extra
        assert by_step.get((entry["step"], entry["kind"]), entry) == entry
    assert {(e["step"], e["kind"]) for e in lines(resumed.run)} >= set(by_step)


def test_losing_the_steps_after_a_checkpoint_changes_nothing(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    """A killed run has logged further than its last checkpoint; those lines are dropped and come again."""
    config = make_config("two")
    killed = make_trainer(config)
    killed.fit(stop_at=6)
    with (killed.run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "kind": "train", "loss/mel": 99}\n{"step": 10, "ki')
    (killed.run / "checkpoints" / ".step_7.part").mkdir()  # half-written
    resumed = make_trainer(config, resume=True)
    resumed.fit()
    undisturbed = make_trainer(make_config("one"))
    undisturbed.fit()
    assert_same(weights(undisturbed), weights(resumed))
    assert lines(resumed.run) == lines(undisturbed.run)
    assert sorted(path.name for path in (resumed.run / "checkpoints").iterdir()) == ["step_12", "step_6"]


@pytest.mark.parametrize("minutes", [0, 1e-6])
def test_a_time_limit_ends_with_a_checkpoint(
    make_config: MakeConfig, make_trainer: MakeTrainer, minutes: float
) -> None:
    trainer = make_trainer(make_config())
    trainer.fit(minutes=minutes)
    assert trainer.next_step == 1
    assert (trainer.run / "checkpoints" / "step_1").is_dir()


def test_warmup_lets_the_latent_through_and_leaves_the_bottleneck_alone(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer(make_config())
    before = {name: value.clone() for name, value in trainer.plain_codec.quantizer.state_dict().items()}
    trainer.fit(stop_at=4)
    assert_same(before, dict(trainer.plain_codec.quantizer.state_dict()))
    assert (trainer.run / "last").is_dir()
    assert not (trainer.run / "best").exists()  # no codec yet
    trainer = make_trainer(trainer.config, resume=True)
    trainer.fit(stop_at=5)
    after = trainer.plain_codec.quantizer.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    switch = next(entry for entry in lines(trainer.run) if entry["kind"] == "switch")
    assert 0 < float(switch["relative_error_at_switch"]) < 0.9  # type: ignore[arg-type]
    assert switch["effective_dimension/codebook_before"] != switch["effective_dimension/codebook_after"]


def test_bfloat16_trains(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(make_config(training={"mixed_precision": "bf16", "steps": 6}))
    trainer.fit()
    assert int(trainer.bad_steps.total) == 0
    assert {p.dtype for p in trainer.plain_codec.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")  # nothing of it is left for validation and the next step


@pytest.mark.parametrize("share", [0.0, 0.34])
def test_normalized_commitment_is_over_the_variance_that_the_bottleneck_meets(
    make_config: MakeConfig, make_trainer: MakeTrainer, share: float
) -> None:
    changes = {"losses": {"normalize_commitment": True}, "training": {"bottleneck_warmup": {"share": share}}}
    trainer = make_trainer(make_config(**changes))
    trainer.fit(stop_at=6)
    variance = trainer.latent_variance
    assert 0 < variance < 1
    resumed = make_trainer(trainer.config, resume=True)
    assert torch.equal(resumed.latent_variance, variance)
    batch = next(resumed._batches(6, 7))
    resumed.codec.eval()  # without dropout, the same latents twice
    expected = resumed.plain_codec(batch).quantizer.loss / variance
    resumed.step([batch])
    assert resumed.reporter.means.read(resumed.accelerator)["loss/commitment"] == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_training_starts_from_another_models_weights(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    trained = make_trainer(make_config("one", training={"steps": 2}))
    trained.fit()
    config = make_config("two", init_from=str(trained.run / "best"))
    tuned = make_trainer(config)
    start = Codec.from_pretrained(trained.run / "best", device="cpu").state_dict()
    assert_same(dict(start), dict(tuned.plain_codec.state_dict()))
    assert_same(dict(start), dict(tuned.ema.codec.state_dict()))
    tuned.fit(stop_at=2)
    assert not torch.equal(start["decoder.head.out.bias"], tuned.plain_codec.decoder.head.out.bias)
    hidden = trained.run.rename(trained.run.with_name("hidden"))
    resumed = make_trainer(config, resume=True)  # goes on from the checkpoint, and does not ask for the first model
    assert_same(weights(tuned), weights(resumed))
    hidden.rename(trained.run)
    with pytest.raises(CodecError, match=r"init_from=.*1 of another shape \(quantizer\.codebook"):
        make_trainer(
            make_config("three", init_from=str(trained.run / "best"), model={"quantizer": {"codebook_size": 64}})
        )
    assert not trained.run.with_name("three").exists()


# -- mistakes -------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_not_overwritten(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    config = make_config(training={"steps": 2})
    make_trainer(config).fit()
    with pytest.raises(CodecError, match=r"holds a run already \(step 2\); give --resume or another output="):
        make_trainer(config)


def test_a_resumed_run_keeps_its_model(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    make_trainer(make_config(training={"steps": 2})).fit()
    with pytest.raises(CodecError, match=r"model.quantizer.codebook_size=64 contradicts the run being resumed \(32\)"):
        make_trainer(make_config(training={"steps": 4}, model={"quantizer": {"codebook_size": 64}}), resume=True)
    longer = make_trainer(make_config(training={"steps": 4}), resume=True)
    longer.fit()
    assert longer.next_step == 4


def test_damaged_settings_of_a_run_are_named(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(make_config(training={"steps": 2}))
    trainer.fit()
    (trainer.run / "config.yaml").write_text("model: [")
    with pytest.raises(CodecError, match=r"config\.yaml: not a YAML file"):
        make_trainer(trainer.config, resume=True)


def test_a_longer_run_does_not_go_back_to_warming_up(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    make_trainer(make_config()).fit()
    longer = make_trainer(make_config(training={"steps": 48}), resume=True)  # a third of which would be 16 steps
    longer.fit(stop_at=18)
    assert [entry["step"] for entry in lines(longer.run) if entry["kind"] == "switch"] == [4]


def test_missing_manifest_and_unshareable_batch_are_named_before_anything_is_written(
    make_config: MakeConfig, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    with pytest.raises(CodecError, match=r"none\.jsonl: cannot read the manifest"):
        make_trainer(make_config(data={"train": [str(tmp_path / "none.jsonl")]}))
    with pytest.raises(CodecError, match=r"data\.batch_size=4: must be a multiple of 1 processes x .*accumulate=3"):
        make_trainer(make_config(training={"accumulate": 3}))
    assert not (tmp_path / "run").exists()


def test_a_part_whose_loss_has_weight_zero_is_logged_and_not_trained(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    untaught = ("commitment", "discriminator_period", "discriminator_dac")
    trainer = make_trainer(
        make_config(
            losses=dict.fromkeys(untaught, 0.0),
            training={"discriminator_start": 0, "bottleneck_warmup": {"share": 0.0}},
        )
    )
    before = {name: value.clone() for name, value in weights(trainer).items()}
    trainer.fit(stop_at=2)
    moved = {name for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(("codec.quantizer.", "disc.period.", "disc.dac.")) for name in moved)
    assert any(name.startswith("disc.resolution.") for name in moved)
    assert any(name.startswith("codec.encoder.") for name in moved)
    assert all(f"loss/{name}" in lines(trainer.run)[0] for name in untaught)


def test_no_discriminator_taught_at_all(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    families = ("discriminator_period", "discriminator_resolution", "discriminator_dac")
    trainer = make_trainer(make_config(losses=dict.fromkeys(families, 0.0), training={"discriminator_start": 0}))
    before = {name: value.clone() for name, value in weights(trainer).items() if name.startswith("disc.")}
    trainer.fit(stop_at=2)
    assert_same(before, {name: value for name, value in weights(trainer).items() if name.startswith("disc.")})
