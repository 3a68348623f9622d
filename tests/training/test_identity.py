"""A place in the data means something in the same recordings alone: others are refused, moved ones are not."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from codec import CodecError, RunConfig
from codec.config import DataConfig
from codec.manifest import read_manifest, write_manifest
from codec.tarshards import AudioShard
from codec.training.data import CropDataset
from codec.training.identity import DATA, identify
from codec.training.recordings import ShardRecordings
from codec.training.streamed import RemoteShard, StreamedCrops
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]

FEW = {"steps": 2, "log_every": 1, "validate_every": 2, "sample_every": 2, "checkpoint_every": 2}


@pytest.fixture
def begun(make_config: MakeConfig, make_trainer: MakeTrainer) -> Trainer:
    trainer = make_trainer(make_config(training=FEW, data={"validation": []}))
    trainer.fit()
    return trainer


@pytest.fixture
def with_manifest(make_config: MakeConfig) -> Callable[[Path], RunConfig]:
    return lambda path: make_config(training={**FEW, "steps": 4}, data={"train": [str(path)], "validation": []})


def test_a_corpus_that_moved_is_the_same(
    begun: Trainer,
    make_trainer: MakeTrainer,
    with_manifest: Callable[[Path], RunConfig],
    manifest: Path,
    tmp_path: Path,
) -> None:
    moved = []
    for utterance in read_manifest(manifest):
        path = tmp_path / "elsewhere" / utterance.path.name
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(utterance.path, path)
        moved.append(dataclasses.replace(utterance, path=path))
    write_manifest(tmp_path / "moved.jsonl", moved)
    resumed = make_trainer(with_manifest(tmp_path / "moved.jsonl"), resume=True)
    resumed.fit()
    assert resumed.next_step == 4


@pytest.mark.parametrize("change", ["fewer", "another order", "another length"])
def test_other_recordings_are_refused_even_in_the_same_file(
    begun: Trainer,
    make_trainer: MakeTrainer,
    with_manifest: Callable[[Path], RunConfig],
    manifest: Path,
    tmp_path: Path,
    change: str,
) -> None:
    utterances = list(read_manifest(manifest))
    if change == "fewer":
        utterances.pop()
    elif change == "another order":
        utterances.reverse()
    else:
        utterances[3] = dataclasses.replace(utterances[3], num_samples=utterances[3].num_samples - 1)
    other = tmp_path / "other.jsonl"
    write_manifest(other, utterances)
    settings = (begun.run / "config.yaml").read_bytes()
    with pytest.raises(CodecError, match=r"data\.train=.*other\.jsonl.*: \d+ recordings of manifests .* began with"):
        make_trainer(with_manifest(other), resume=True)
    assert (begun.run / "config.yaml").read_bytes() == settings
    # The same name, with other content since.
    shutil.copyfile(manifest, other)
    make_trainer(with_manifest(other), resume=True)
    write_manifest(other, utterances)
    with pytest.raises(CodecError, match=r"bring those back, or start a new run with another output="):
        make_trainer(with_manifest(other), resume=True)


def test_a_run_from_before_recordings_were_noted_resumes_with_the_same_settings_alone(
    begun: Trainer,
    make_trainer: MakeTrainer,
    with_manifest: Callable[[Path], RunConfig],
    manifest: Path,
    tmp_path: Path,
) -> None:
    noted = json.loads((begun.run / DATA).read_text())
    assert noted["recordings"] == 10
    (begun.run / DATA).unlink()
    shutil.copyfile(manifest, tmp_path / "copy.jsonl")
    with pytest.raises(CodecError, match=r"data\.train=.*copy\.jsonl.* contradicts .*write it into .*config\.yaml too"):
        make_trainer(with_manifest(tmp_path / "copy.jsonl"), resume=True)
    make_trainer(with_manifest(manifest), resume=True)
    assert json.loads((begun.run / DATA).read_text()) == noted


def test_shards_are_known_by_their_names_and_counts_wherever_they_are() -> None:
    def on_disk(folder: str, *counts: int) -> dict[str, int | str]:
        shards = [AudioShard(Path(f"{folder}/train-{n}.tar"), count, 9) for n, count in enumerate(counts)]
        return identify(CropDataset(ShardRecordings(shards, 8), 24_000, DataConfig(), 0))

    def streamed(place: str, *counts: int) -> dict[str, int | str]:
        shards = [RemoteShard(place.format(n), count) for n, count in enumerate(counts)]
        return identify(StreamedCrops(shards, 24_000, DataConfig(), 0))

    assert on_disk("/a", 3, 4) == on_disk("/b", 3, 4)
    assert on_disk("/a", 3, 4) != on_disk("/a", 4, 3)
    assert streamed("s3://one/train-{}.tar", 3, 4) == streamed("pipe:cat /mnt/train-{}.tar | cat", 3, 4)
    assert streamed("s3://one/train-{}.tar", 3, 4) != streamed("s3://one/dev-{}.tar", 3, 4)
    assert streamed("/a/train-{}.tar", 3, 4) != on_disk("/a", 3, 4)  # read in another order


# -- what else a resumed run is told --------------------------------------------------------------------------------


def test_a_warm_up_that_cannot_change_any_more_is_said(
    make_config: MakeConfig, make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "codec")

    def config(steps: int, share: float) -> RunConfig:
        warmup = {"share": share}
        return make_config(data={"validation": []}, training={"steps": steps, "bottleneck_warmup": warmup})

    make_trainer(config(12, 0.34)).fit(stop_at=6)
    make_trainer(config(16, 0.25), resume=True)
    assert "warm-up" not in caplog.text  # lengthened, with the same four steps of it
    assert make_trainer(config(12, 0.75), resume=True).warmup_steps == 4
    said = "training.bottleneck_warmup.share=0.75 of 12 steps is 9 steps of warm-up; this run keeps its 4"
    assert said in caplog.text


def test_resuming_where_nothing_is_starts_anew_and_says_so(
    make_config: MakeConfig, make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(make_config("mistyped"), resume=True)
    assert trainer.next_step == 0
    (record,) = (record for record in caplog.records if record.name.startswith("codec."))
    assert record.levelno == logging.WARNING
    assert record.message.startswith(f"{trainer.run}: no checkpoint to resume from; training starts anew")
