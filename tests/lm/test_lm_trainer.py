"""Training learns what there is to learn, and a resumed run is an undisturbed one."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from codec.config import build
from codec.config.lm import LMConfig
from codec.errors import CodecError
from codec.lm.network import LanguageModel
from codec.lm.trainer import LMTrainer
from codec.pretrained import read_weights

Make = Callable[..., LMConfig]


def train(config: LMConfig, *, resume: bool = False, stop_at: int | None = None) -> LMTrainer:
    trainer = LMTrainer(config, Accelerator(cpu=True), resume=resume)
    trainer.fit(stop_at=stop_at)
    return trainer


def log_of(trainer: LMTrainer, kind: str) -> dict[int, dict[str, float]]:
    entries = map(json.loads, (trainer.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {entry["step"]: entry for entry in entries if entry["kind"] == kind}


def test_bits_in_the_log_are_of_tokens_alone_as_in_validation(settings: Make) -> None:
    config = settings(training={"steps": 1, "log_every": 1, "accumulate": 2})
    trainer = LMTrainer(config, Accelerator(cpu=True))
    each = []
    for first in (0, config.data.batch_size):
        sequences = trainer.blocks.batch(first, config.data.batch_size)
        with torch.no_grad():
            nats = trainer.plain_lm(sequences)[(sequences.targets >= 0) & (sequences.targets < 16)]
        assert nats.numel() < (sequences.targets >= 0).sum()  # there are end marks
        each.append(float(nats.mean()) / math.log(2))
    trainer.fit()
    assert log_of(trainer, "train")[1]["bits_a_token"] == pytest.approx(sum(each) / 2, rel=1e-5)


def test_learns_a_row_without_doubt(settings: Make) -> None:
    trainer = train(settings(training={"steps": 150, "log_every": 50, "validate_every": 50, "checkpoint_every": 150}))
    # Order 0 knows nothing of it: 16 codes, equally often.
    assert log_of(trainer, "validation")[150]["bits_a_token"] < 1.0 < math.log2(16)
    assert (trainer.run / "best" / "model.safetensors").is_file()
    assert trainer.best == min(entry["bits_a_token"] for entry in log_of(trainer, "validation").values())


@pytest.mark.parametrize("tied", [True, False])
def test_a_resumed_run_is_the_undisturbed_one(settings: Make, tied: bool) -> None:
    model = {"tie_embeddings": tied, "attention_dropout": 0.2}
    whole = train(settings("whole", model=model, training={"accumulate": 2}))
    config = settings("cut", model=model, training={"accumulate": 2})
    train(config, stop_at=3)
    torch.rand(7)  # what came between must not matter
    resumed = train(config, resume=True)
    for name in ("last", "best"):
        one, other = (read_weights(run / name / "model.safetensors") for run in (whole.run, resumed.run))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for kind in ("train", "validation"):
        cut = log_of(resumed, kind)
        for step, entry in log_of(whole, kind).items():
            assert cut[step]["bits_a_token"] == entry["bits_a_token"]


@pytest.mark.parametrize("at", [4, 6])
def test_sigterm_leaves_a_due_validation_to_the_resumed_run(
    settings: Make, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """SIGKILL may follow within seconds: the checkpoint must not wait for a validation."""
    training = {"steps": 6, "log_every": 1, "validate_every": 2, "checkpoint_every": 6}
    whole = train(settings("whole", training=training))
    config = settings("cut", training=training)
    cut = LMTrainer(config, Accelerator(cpu=True))
    with monkeypatch.context() as patch:
        patch.setattr(cut, "_validate", lambda step: {} if step < at else pytest.fail("validated first"))
        cut.fit(report=lambda step, _: os.kill(os.getpid(), signal.SIGTERM) if step == at - 1 else None)
    assert cut.next_step == at and (cut.run / "checkpoints" / f"step_{at}").is_dir() and (cut.run / "last").is_dir()
    resumed = train(config, resume=True)
    for step in (at, 6):
        found = [log_of(trainer, "validation")[step]["bits_a_token"] for trainer in (whole, resumed)]
        assert found[0] == found[1]
    assert not LMTrainer(config, Accelerator(cpu=True), resume=True).unseen


def test_micro_batches_make_the_gradient_of_one_batch(settings: Make) -> None:
    once = train(settings("once", data={"batch_size": 4}, training={"steps": 2}))
    twice = train(settings("twice", training={"steps": 2, "accumulate": 2}))
    for one, other in zip(once.plain_lm.parameters(), twice.plain_lm.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_broken_gradient_changes_nothing_and_too_many_end_the_run(settings: Make) -> None:
    trainer = LMTrainer(settings(training={"max_bad_steps": 3}), Accelerator(cpu=True))
    trainer.plain_lm.llama.model.norm.register_forward_hook(lambda *_: _[2] * float("nan"))
    before = [parameter.detach().clone() for parameter in trainer.plain_lm.parameters()]
    with pytest.raises(CodecError, match="3 steps in a row had gradients that are not finite"):
        trainer.fit()
    assert all(torch.equal(one, other) for one, other in zip(before, trainer.plain_lm.parameters(), strict=True))


def test_without_validation_the_last_is_the_best(settings: Make) -> None:
    trainer = train(settings(data={"validation": []}))
    one, other = (read_weights(trainer.run / name / "model.safetensors") for name in ("last", "best"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert LanguageModel.from_pretrained(trainer.run / "best", "cpu").codec.fingerprint == "0123456789abcdef"


def test_no_minutes_are_a_limit_too(settings: Make) -> None:
    trainer = LMTrainer(settings(), Accelerator(cpu=True))
    trainer.fit(minutes=0)
    assert trainer.next_step == 1
    assert (trainer.run / "checkpoints" / "step_1").is_dir()


def test_run_folders_are_kept(settings: Make) -> None:
    train(settings())
    with pytest.raises(CodecError, match="holds a run already"):
        train(settings())
    with pytest.raises(CodecError, match=r"model.layers=2 contradicts"):
        train(settings(model={"layers": 2}), resume=True)
    # A longer run is the same run.
    assert train(settings(training={"steps": 8}), resume=True).next_step == 8


def test_a_resumed_run_is_held_to_its_tokens(settings: Make, tmp_path: Path) -> None:
    """Another codec's in the same place would be learned on top, and the model would be taken for that codec's."""
    config = settings(training={"steps": 4})
    train(config, stop_at=2)
    index = tmp_path / "train" / "index.json"
    index.write_text(index.read_text(encoding="utf-8").replace("0123456789abcdef", "f" * 16), encoding="utf-8")
    with pytest.raises(CodecError, match=r"codec ffffffffffffffff .* not the .* codec 0123456789abcdef"):
        train(config, resume=True)
    assert LanguageModel.from_pretrained(Path(config.output) / "last", "cpu").codec.fingerprint == "0123456789abcdef"


def test_a_folder_of_tokens_that_counts_double_is_said(
    settings: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = str(tmp_path / "train")
    trainer = LMTrainer(settings(data={"train": [folder, folder + "/"]}), Accelerator(cpu=True))
    assert f"{folder}: given twice" in caplog.text
    assert len(trainer.blocks.corpus) == 2 * len(trainer.validation or ())


def test_a_run_from_before_its_tokens_were_noted_goes_on(settings: Make) -> None:
    config = settings(training={"steps": 4})
    (train(config, stop_at=2).run / "data.json").unlink()
    assert train(config, resume=True).next_step == 4


def test_a_resumed_run_has_the_optimisers_settings_that_it_is_given(settings: Make) -> None:
    train(settings(), stop_at=2)
    changed = settings(optimizer={"weight_decay": 0.5, "betas": [0.5, 0.6]})
    trainer = LMTrainer(changed, Accelerator(cpu=True), resume=True)
    found = {group["name"]: (group["weight_decay"], tuple(group["betas"])) for group in trainer.optimizer.param_groups}
    assert found == {"matrices": (0.5, (0.5, 0.6)), "others": (0.0, (0.5, 0.6))}


def test_the_rate_in_the_log_is_that_of_the_step(settings: Make) -> None:
    optimizer = {"lr": 1e-2, "warmup_steps": 4}
    trainer = train(settings(optimizer=optimizer, training={"steps": 4, "log_every": 1}))
    assert log_of(trainer, "train")[1]["lr"] == pytest.approx(trainer.rate(0))
    assert trainer.rate(0) != trainer.rate(1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"model": {"dim": 20, "heads": 4}}, "must be a multiple of 2"),
        ({"model": {"layer": 2}}, "unknown setting model.layer; did you mean model.layers?"),
        ({"training": {"validate_every": 30}}, "must be a multiple of log_every=50"),
        ({"data": {"train": []}}, "data.train"),
    ],
)
def test_wrong_settings_are_named(data: dict[str, object], says: str) -> None:
    with pytest.raises(CodecError, match=says.replace("?", r"\?")):
        build(LMConfig, data)


def test_nothing_is_written_where_the_tokens_are_missing(settings: Make, tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="nowhere: no such file or folder; give the folder of a token dataset"):
        train(settings("none", data={"train": [str(tmp_path / "nowhere")]}))
    assert not (tmp_path / "none").exists()


def test_a_run_starts_from_another_models_weights(settings: Make, make_tokens: Callable[..., Path]) -> None:
    """What the refusal of grown tokens in a resumed run advises."""
    first = train(settings("first"))
    start = str(first.run / "last")
    more = {"train": [str(make_tokens("more", recordings=[np.arange(80) % 16]))], "validation": []}
    config = settings("second", data=more, model={"context": 32}).model_copy(update={"init_from": start})
    second = LMTrainer(config, Accelerator(cpu=True))
    for one, other in zip(first.plain_lm.parameters(), second.plain_lm.parameters(), strict=True):
        assert torch.equal(one, other)
    assert second.plain_lm.context == 32
    second.fit(stop_at=2)
    weights = [weight.detach().clone() for weight in second.plain_lm.parameters()]
    resumed = LMTrainer(config, Accelerator(cpu=True), resume=True)
    assert all(torch.equal(one, other) for one, other in zip(weights, resumed.plain_lm.parameters(), strict=True))

    other = settings("third", model={"heads": 4}).model_copy(update={"init_from": start})  # weights of equal shapes
    with pytest.raises(CodecError, match=r"init_from=.*other sizes \(model.heads=2, here 4\); set model as it has"):
        LMTrainer(other, Accelerator(cpu=True))
    strange = {
        "train": [str(make_tokens("strange", replace(first.plain_lm.codec, fingerprint="f" * 16)))],
        "validation": [],
    }
    foreign = settings("third", data=strange).model_copy(update={"init_from": start})
    with pytest.raises(CodecError, match=r"speaks the tokens of codec 0123.* but data.train has those of f{16}"):
        LMTrainer(foreign, Accelerator(cpu=True))
    assert not Path(other.output).exists()
