"""Training from tar shards: the same guarantees as from manifests."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import codec.audio as audio_io
from codec import CodecError, RunConfig
from codec.config import DataConfig
from codec.manifest import Utterance, read_manifest
from codec.tarshards import Member, find_shards, read_table
from codec.tarshards.writing import Options, write_shards
from codec.training.data import CropDataset, StepSampler, crop_loader, validation_crops
from codec.training.recordings import ManifestRecordings, ShardRecordings, open_recordings
from codec.training.trainer import Trainer


@pytest.fixture(scope="module")
def utterances(manifest: Path) -> list[Utterance]:
    return read_manifest(manifest)


@pytest.fixture(scope="module")
def shards(utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten real utterances in five shards or so."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(utterances, folder, Options(shard_mb=0.2))
    assert len(list(folder.glob("*.tar"))) >= 4
    return folder


def dataset(shards: Path, together: int = 2, **settings: object) -> CropDataset:
    config = DataConfig(**{"crop_s": 0.1, "shards": (str(shards),), "shuffle_shards": together, **settings})  # type: ignore[arg-type]
    return CropDataset(open_recordings(config), 24_000, config, seed=3)


def picked(recordings: ShardRecordings, epoch: int, seed: int = 3) -> list[Member]:
    return [recordings.pick(seed, epoch, place) for place in range(len(recordings))]


@pytest.mark.parametrize("together", [1, 2, 100])
def test_an_epoch_takes_every_recording_once_a_few_shards_at_a_time(shards: Path, together: int) -> None:
    recordings = ShardRecordings(find_shards([str(shards)]), together)
    orders = [picked(recordings, epoch) for epoch in (0, 1)]
    everything = {
        table[row] for shard in recordings.shards for table in [read_table(shard.path)] for row in range(len(table))
    }
    for order in orders:
        assert len(order) == len(everything) == 10
        assert set(order) == everything
    assert orders[0] != orders[1] != picked(recordings, 1, seed=4)
    # Within a stretch of the order there are only as many shards as are taken together.
    counts = Counter(member.path for member in orders[0])
    seen: list[Path] = []
    for member in orders[0]:
        if member.path not in seen:
            seen.append(member.path)
    for group in range(0, len(seen), together):
        paths = seen[group : group + together]
        start = sum(counts[path] for path in seen[:group])
        assert {member.path for member in orders[0][start : start + sum(counts[path] for path in paths)]} == set(paths)


def holds(whole: Tensor, crop: Tensor) -> bool:
    starts = (whole[: 1 - len(crop)] == crop[0]).nonzero()[:, 0].tolist()
    return any(torch.equal(whole[start : start + len(crop)], crop) for start in starts)


def test_a_crop_is_a_piece_of_a_recording_read_in_place(
    shards: Path, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = [audio_io.load(item.path, 24_000) for item in utterances]
    monkeypatch.setattr(tarfile, "open", None)  # nothing is unpacked
    data = dataset(shards)
    for position in range(5):
        crop = data[position]
        assert crop.shape == (2400,)
        assert any(holds(whole, crop) for whole in originals)


def test_crops_follow_from_seed_and_position_alone(shards: Path) -> None:
    one, other = dataset(shards), pickle.loads(pickle.dumps(dataset(shards)))
    crops = {position: one[position] for position in (17, 3, 10_004, 9)}
    for position in sorted(crops):
        assert torch.equal(other[position], crops[position])
    again = list(crop_loader(one, StepSampler(4, 0, 3), 1, pin_memory=False))  # a worker of its own
    for alone, shared in zip(crop_loader(other, StepSampler(4, 0, 3), 0, pin_memory=False), again, strict=True):
        assert torch.equal(alone, shared)


def test_patterns_name_the_same_shards(shards: Path, tmp_path: Path) -> None:
    whole = find_shards([str(shards)])
    last = len(whole) - 1
    assert find_shards([f"{shards}/train-{{000000..{last:06d}}}.tar"]) == whole
    assert find_shards([f"{shards}/train-*.tar"]) == whole
    assert find_shards([str(shard.path) for shard in whole]) == whole
    assert find_shards([str(shards), str(shards / "train-000000.tar")]) == whole  # each once
    for pattern, reason in (
        (f"{shards}/train-{{000000..{last + 1:06d}}}.tar", f"train-{last + 1:06d}.tar: the shard cannot be read"),
        (f"{shards}/none-*.tar", "no shard has such a name"),
        (str(tmp_path), "no tar shards in this folder"),
    ):
        with pytest.raises(CodecError) as error:
            find_shards([pattern])
        assert reason in str(error.value)


@pytest.fixture
def copied(shards: Path, tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    for path in shards.iterdir():
        if path.is_file():
            (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "copy"


def test_shards_of_others_need_no_index(shards: Path, copied: Path) -> None:
    for path in (copied / "index.json", *copied.glob("*.jsonl")):
        path.unlink()
    with_index, without = (ShardRecordings(find_shards([str(folder)]), 2) for folder in (shards, copied))
    facts = [
        [(member.path.name, member.offset, member.size, member.num_samples) for member in picked(recordings, 0)]
        for recordings in (with_index, without)
    ]
    assert facts[0] == facts[1]


def test_missing_truncated_and_damaged_shards_are_named(copied: Path) -> None:
    path = copied / "train-000001.tar"
    whole = path.read_bytes()

    def fails(*parts: str) -> None:
        with pytest.raises(CodecError) as error:
            data = dataset(copied)
            for position in range(10):
                data[position]
        assert all(part in str(error.value) for part in parts), error.value
        assert "\n" not in str(error.value)

    path.write_bytes(whole[: len(whole) // 2])
    fails("train-000001.tar", f"{len(whole)}", "get the shard again")
    (copied / "index.json").unlink()  # the file beside it knows as much
    fails("train-000001.tar: ends after", "within its recordings")
    path.with_suffix(".jsonl").unlink()
    fails("train-000001.tar", "get the shard again")
    path.unlink()
    (copied / "train-000000.jsonl").write_text('{"id": "x"}\n')
    fails("train-000000.jsonl: not the index of a shard")


def test_an_index_that_lies_is_found_out(copied: Path) -> None:
    side = copied / "train-000000.jsonl"
    entries = [json.loads(line) for line in side.read_text().splitlines()]
    entries[0]["num_samples"] += 99_999_999
    side.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with pytest.raises(CodecError, match="the shard's index promises"):
        list(map(dataset(copied).__getitem__, range(10)))
    side.write_text(json.dumps(entries[1]) + "\n")
    with pytest.raises(CodecError, match="1 recordings are listed beside it"):
        list(map(dataset(copied).__getitem__, range(10)))


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {**trainer.plain_codec.state_dict(), **trainer.plain_discriminators.state_dict()}


def test_a_resumed_run_on_shards_equals_an_undisturbed_one(
    make_config: Callable[..., RunConfig], make_trainer: Callable[..., Trainer], shards: Path
) -> None:
    changes: dict[str, Any] = {"data": {"train": [], "shards": [str(shards)], "shuffle_shards": 2}}
    undisturbed = make_trainer(make_config("one", **changes))
    undisturbed.fit()
    config = make_config("two", **changes)
    make_trainer(config).fit(stop_at=5)
    resumed = make_trainer(config, resume=True)
    resumed.fit()
    for name, value in weights(undisturbed).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_exactly_one_of_manifests_and_shards(make_config: Callable[..., RunConfig], shards: Path) -> None:
    from codec.config import build

    assert build(DataConfig, {"shards": [str(shards)]}).train == ()
    with pytest.raises(CodecError, match="give one of both"):
        build(DataConfig, {"shards": [str(shards)], "train": ["a.jsonl"]})
    with pytest.raises(CodecError, match="give one of both"):
        build(DataConfig, {"train": []})


def test_manifests_take_little_memory_and_lose_nothing(utterances: list[Utterance], tmp_path: Path) -> None:
    strange = [Utterance("i", tmp_path / "Ünïcode 梨.wav", 2**40, 48_000, text="long"), *utterances]
    kept = ManifestRecordings(strange)
    assert len(kept) == len(strange)
    for place, item in enumerate(strange):
        assert (kept[place].path, kept[place].num_samples, kept[place].sample_rate) == (
            item.path,
            item.num_samples,
            item.sample_rate,
        )
    assert kept.sample_rates() == {24_000: 10, 48_000: 1}
    assert len(pickle.dumps(ManifestRecordings(utterances * 1000))) < 10_000 * (16 + 4 + 8 + 200)


@pytest.fixture
def mixed(utterances: list[Utterance], tmp_path: Path) -> list[Utterance]:
    """Eleven, one of them at another rate."""
    audio_io.write(tmp_path / "slow.wav", torch.zeros(8000), 16_000)
    return [*utterances, Utterance("slow", tmp_path / "slow.wav", 8000, 16_000)]


@pytest.mark.parametrize("kind", ["new", "of others", "old", "old, made again"])
def test_mixed_rates_of_shards_are_said_once(
    mixed: list[Utterance], tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    folder = tmp_path / "mixed"
    write_shards(mixed, folder, Options(shard_mb=0.2))
    index = json.loads((folder / "index.json").read_text())
    assert Counter(rate for shard in index["shards"] for rate in shard["sample_rates"]).keys() == {"16000", "24000"}
    if kind == "of others":
        (folder / "index.json").unlink()
    elif kind.startswith("old"):  # as they were before rates were kept
        for shard in index["shards"]:
            del shard["sample_rates"]
        (folder / "index.json").write_text(json.dumps(index))
        for path in folder.glob(".progress/train-*.json"):
            record = json.loads(path.read_text())
            del record["sample_rates"]
            path.write_text(json.dumps(record))
    if kind == "old, made again":
        write_shards(mixed, folder, Options(shard_mb=0.2))
    with caplog.at_level("INFO", logger="codec"):
        data = dataset(folder)
        for position in range(22):
            assert data[position].shape == (2400,)
    said = [record.getMessage() for record in caplog.records]
    assert said == ([] if kind == "old" else ["resampled to 24000 Hz: 1 at 16000 Hz of 11 utterances"])


@pytest.mark.parametrize("rates", [[24_000], {"fast": 1}])
def test_an_index_with_strange_rates_is_none(copied: Path, rates: object) -> None:
    index = json.loads((copied / "index.json").read_text())
    index["shards"][0]["sample_rates"] = rates
    (copied / "index.json").write_text(json.dumps(index))
    with pytest.raises(CodecError, match=r"index\.json: not the index of shards"):
        find_shards([str(copied)])


def test_mixed_rates_of_validation_crops_are_said_once(
    mixed: list[Utterance], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="codec"):
        validation_crops(mixed, 24_000, DataConfig(validation_crop_s=0.1))
    assert [record.getMessage() for record in caplog.records] == [
        "resampled to 24000 Hz: 1 at 16000 Hz of 11 validation crops"
    ]


def test_mixed_rates_are_said_once(mixed: list[Utterance], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="codec"):
        data = CropDataset(mixed, 24_000, DataConfig(crop_s=0.1), 0)
        for position in range(22):
            assert data[position].shape == (2400,)
    assert [record.getMessage() for record in caplog.records] == [
        "resampled to 24000 Hz: 1 at 16000 Hz of 11 utterances"
    ]
