"""A damaged checkpoint is named, with the way to go on; it is never resumed from in silence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from codec import CodecError, RunConfig
from codec.training.checkpoint import find_checkpoints, open_run, save_checkpoint
from codec.training.trainer import Trainer
from codec.training.wholeness import LIST, NEEDED, find_damage

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def run(make_config: MakeConfig, make_trainer: MakeTrainer) -> Trainer:
    """An untrained run with checkpoints called 2, 4 and 6."""
    trainer = make_trainer(make_config(data={"validation": []}, training={"keep_checkpoints": 3}))
    for step in (2, 4, 6):
        save_checkpoint(trainer.accelerator, trainer.run, step, trainer.config.training)
    return trainer


def resume(run: Trainer) -> Path | None:
    return open_run(run.run, run.config, resume=True, main_process=True)


def folder_of(run: Trainer, step: int) -> Path:
    return dict(find_checkpoints(run.run))[step]


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "from before there was a list"])
def test_an_emptied_cut_or_missing_file_is_named_with_the_way_to_go_on(run: Trainer, listed: bool) -> None:
    newest, before = folder_of(run, 6), folder_of(run, 4)
    if not listed:
        for _, folder in find_checkpoints(run.run):
            (folder / LIST).unlink()
    assert resume(run) == newest
    settings = (run.run / "config.yaml").read_bytes()
    for name in NEEDED:
        content = (newest / name).read_bytes()
        for damaged in (b"", content[:-100], None):
            if damaged is None:
                (newest / name).unlink()
            else:
                (newest / name).write_bytes(damaged)
            with pytest.raises(CodecError) as error:
                resume(run)
            message = str(error.value)
            assert message.startswith(f"{newest / name}: damaged (")
            assert message.endswith(f"; delete {newest}, and --resume goes on from step 4")
            assert "\n" not in message
        (newest / name).write_bytes(content)
    assert resume(run) == newest
    (newest / NEEDED[0]).write_bytes(b"")
    (before / NEEDED[1]).write_bytes(b"")
    with pytest.raises(CodecError, match=f"delete {before} and {newest}, and --resume goes on from step 2"):
        resume(run)
    shutil.rmtree(folder_of(run, 2))
    with pytest.raises(CodecError, match="no earlier checkpoint is whole, so start a new run with another output="):
        resume(run)
    assert (run.run / "config.yaml").read_bytes() == settings


@pytest.mark.parametrize("name", [*NEEDED, LIST])
def test_one_other_byte_is_damage(run: Trainer, name: str) -> None:
    path = folder_of(run, 6) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes(content)
    damage = find_damage(path.parent)
    assert damage is not None
    assert damage.file == path


def test_a_damaged_checkpoint_stops_the_trainer_and_the_one_before_resumes(
    run: Trainer, make_trainer: MakeTrainer
) -> None:
    newest = folder_of(run, 6)
    (newest / "random_states_0.pkl").write_bytes(b"")
    with pytest.raises(CodecError, match=r"random_states_0\.pkl: damaged \(0 bytes of \d+\); delete "):
        make_trainer(run.config, resume=True)
    shutil.rmtree(newest)
    make_trainer(run.config, resume=True)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux for the name of an open file")
def test_all_of_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    run: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Path] = []
    synchronise, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        synchronise(descriptor)
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    def noted_rename(path: Path, target: Path) -> Path:
        if target.name == "step_8":
            assert {*path.iterdir(), path} <= set(done)
            assert done.index(path / LIST) > max(done.index(path / name) for name in NEEDED)
            done.clear()
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    save_checkpoint(run.accelerator, run.run, 8, run.config.training)
    assert done == [run.run / "checkpoints"]  # the name too
    assert find_damage(folder_of(run, 8)) is None
