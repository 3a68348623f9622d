"""Which checkpoints stay, what a full disk leaves, and what a resumed run may not change."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from codec import Codec, CodecError, RunConfig
from codec.config import TrainingConfig
from codec.training.checkpoint import find_checkpoints, save_checkpoint, superseded
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]


def test_the_newest_and_the_milestones_stay() -> None:
    settings = TrainingConfig(checkpoint_every=1000, keep_checkpoints=2, milestone_every=3000)
    left = []
    for step in range(1000, 11_000, 1000):  # as a run writes them
        left.append(step)
        left = [kept for kept in left if kept not in superseded(left, settings)]
    assert left == [3000, 6000, 9000, 10_000]
    assert superseded([1, 2, 3], TrainingConfig(keep_checkpoints=2)) == [1]
    assert superseded([1], TrainingConfig()) == []


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """The system refuses longer files, as a full disk does, in the middle of writing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_at_a_checkpoint_is_named_and_nothing_before_is_lost(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer(make_config())
    trainer.fit(stop_at=6)
    whole = sorted(path.name for path in (trainer.run / "checkpoints" / "step_6").iterdir())
    resumed = make_trainer(trainer.config, resume=True)
    with files_no_longer_than(10_000), pytest.raises(CodecError, match=r"step_12: writing failed .*") as error:
        save_checkpoint(resumed.accelerator, resumed.run, 12, resumed.config.training)
    assert "make room on the disk; --resume goes on from step 6" in str(error.value)
    assert [step for step, _ in find_checkpoints(trainer.run)] == [6]
    assert not list((trainer.run / "checkpoints").glob(".*"))
    assert sorted(path.name for path in (trainer.run / "checkpoints" / "step_6").iterdir()) == whole
    again = make_trainer(trainer.config, resume=True)
    again.fit()
    assert again.next_step == 12


def test_a_full_disk_at_a_model_leaves_the_model_before(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(make_config())
    trainer.fit(stop_at=6)
    before = Codec.from_pretrained(trainer.run / "last", device="cpu").fingerprint
    resumed = make_trainer(trainer.config, resume=True)
    with files_no_longer_than(10_000), pytest.raises(CodecError, match=r"last/model\.safetensors: writing failed"):
        resumed._validate(12)
    assert Codec.from_pretrained(trainer.run / "last", device="cpu").fingerprint == before
    assert [path.name for path in (trainer.run / "last").glob(".*")] == []


def test_a_full_disk_at_a_log_line_is_named(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(make_config())
    (trainer.run / "metrics.jsonl").write_text("{}\n" * 10_000)  # as long as a file may get here
    says = r"run: writing failed \(File too large\); make room on the disk; --resume then starts anew"
    with files_no_longer_than(30_000), pytest.raises(CodecError, match=says):
        trainer.fit(stop_at=2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": {"batch_size": 2}}, r"data\.batch_size=2 contradicts the run being resumed \(4\)"),
        ({"optimizer": {"name": "muon"}}, r"optimizer\.name='muon' contradicts the run being resumed \('adam'\)"),
        ({"training": {"seed": 7}}, r"training\.seed=7 contradicts the run being resumed \(0\)"),
        ({"model": {"encoder": {"channels": 4}}}, r"model\.encoder\.channels=4 contradicts .* \(2\); change it back"),
        ({"discriminators": {"periods": [2]}}, r"discriminators\.periods=\(2,\) contradicts"),
    ],
)
def test_settings_that_contradict_the_checkpoint_are_named_and_nothing_is_lost(
    make_config: MakeConfig, make_trainer: MakeTrainer, changes: dict[str, object], says: str
) -> None:
    few = {"steps": 2, "log_every": 1, "validate_every": 2, "sample_every": 2, "checkpoint_every": 2}
    trainer = make_trainer(make_config(training=few, data={"validation": []}))
    trainer.fit()
    settings = (trainer.run / "config.yaml").read_text()
    changed = {**changes, "training": {**few, **changes.get("training", {})}}  # type: ignore[dict-item]
    with pytest.raises(CodecError, match=says):
        make_trainer(make_config(**changed), resume=True)
    assert (trainer.run / "config.yaml").read_text() == settings
    assert [step for step, _ in find_checkpoints(trainer.run)] == [2]


def test_the_last_stage_trains_with_its_weight_and_rates(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    last = {"share": 0.5, "mel_factor": 0.0, "lr_share": 0.5}
    trainer = make_trainer(
        make_config(
            losses={"commitment": 0.0},
            training={"steps": 4, "discriminator_start": 9, "bottleneck_warmup": {"share": 0.0}, "last_stage": last},
        )
    )
    trainer.codec.train()
    batches = list(trainer._batches(0, 3))
    rates, moved = [], []
    for batch in batches:
        before = trainer.plain_codec.decoder.head.out.bias.detach().clone()
        trainer.step([batch])
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        moved.append(not torch.equal(trainer.plain_codec.decoder.head.out.bias, before))
    assert rates == [1e-3, 1e-3, 5e-4]
    assert moved == [True, True, False]  # without a mel weight nothing is left of this objective
