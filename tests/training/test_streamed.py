"""Training from streamed shards: shared without overlap, and resumed at the very recording."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import codec.audio as audio_io
from codec import CodecError, RunConfig
from codec.config import DataConfig
from codec.manifest import Utterance, read_manifest
from codec.tarshards.writing import Options, write_shards
from codec.training import streamed as streaming
from codec.training.data import StepSampler, crop_loader, open_crops
from codec.training.streamed import Share, StreamedCrops, find_remote_shards
from codec.training.trainer import Trainer

OPEN = streaming._opened


@pytest.fixture(scope="module")
def folder(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten real utterances in four or more shards."""
    folder = tmp_path_factory.mktemp("store")
    write_shards(read_manifest(manifest), folder, Options("opus", shard_mb=0.04))
    return folder


@pytest.fixture
def pattern(folder: Path) -> str:
    last = len(list(folder.glob("*.tar"))) - 1
    assert last >= 3
    return f"pipe:cat {folder}/train-{{000000..{last:06d}}}.tar"


def streamed(pattern: str, **settings: object) -> StreamedCrops:
    settings = {"crop_s": 0.1, "shards": (pattern,), "shuffle_buffer": 3, **settings}
    crops = open_crops(DataConfig(**settings), 24_000, 5)  # type: ignore[arg-type]
    assert isinstance(crops, StreamedCrops)
    return crops


@pytest.mark.parametrize("total", [1, 3])
@pytest.mark.parametrize("buffer", [1, 3, 100])
def test_a_pass_takes_every_recording_once(pattern: str, total: int, buffer: int) -> None:
    crops = streamed(pattern, shuffle_buffer=buffer)
    everything = sorted((shard, row) for shard, facts in enumerate(crops.shards) for row in range(facts.utterances))
    assert len(everything) == 10
    passes = []
    for number in (0, 1):
        taken = []
        for own in range(total):
            mine = crops._shards_of(Share(own, total), number)
            order = crops._order(mine, Share(own, total), number)
            delivered = [shard for shard, _ in crops._recordings(mine, order)]
            assert delivered == [shard for shard, _ in order]
            taken += order
        assert sorted(taken) == everything
        passes.append(taken)
    assert passes[0] != passes[1]


@pytest.mark.parametrize("before", [1, 4, 9, 10, 17, 23])
def test_going_on_gives_the_same_crops(pattern: str, before: int) -> None:
    crops = streamed(pattern, gain_db=(-6.0, 0.0))
    for share in (Share(0, 1), Share(1, 2)):
        undisturbed = list(islice(crops.crops(share, 0), before + 5))
        resumed = list(islice(streamed(pattern, gain_db=(-6.0, 0.0)).crops(share, before), 5))
        assert all(torch.equal(a, b) for a, b in zip(undisturbed[before:], resumed, strict=True))
        assert len({crop.sum().item() for crop in undisturbed}) == len(undisturbed)


def batches(pattern: str, start: int, stop: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What a loader of process 1 of 2 gives, which asks its workers in turn; without starting any."""
    crops = streamed(pattern).for_loader(1, 2, share=2, first_batch=start, workers=workers)
    readers = []
    for number in range(workers):
        worker = SimpleNamespace(num_workers=workers, id=number)
        monkeypatch.setattr("codec.training.streamed.get_worker_info", lambda worker=worker: worker)
        readers.append(iter(list(islice(pickle.loads(pickle.dumps(crops)), 2 * (stop - start)))))
    return [torch.stack([next(readers[index % workers]) for _ in range(2)]) for index in range(stop - start)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loader_goes_on_with_the_worker_whose_turn_it_is(
    pattern: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batches(pattern, 0, 5, workers, monkeypatch)
    for start in (1, 2, 3):
        rest = batches(pattern, start, 5, workers, monkeypatch)
        assert all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=True))
    # They are the crops of the readers of process 1, in turn.
    shares = [Share(workers + number, 2 * workers) for number in range(workers)]
    for index, share in enumerate(shares):
        first = list(islice(streamed(pattern).crops(share, 0), 2))
        assert torch.equal(whole[index], torch.stack(first))


def test_a_loader_gives_the_crops_of_its_reader(pattern: str) -> None:
    data = streamed(pattern)
    data[0]  # an open stream is no obstacle to starting a worker
    found = list(crop_loader(data, StepSampler(4, 1, 3), 1, pin_memory=False))
    expected = torch.stack(list(islice(streamed(pattern).crops(Share(0, 1), 4), 8))).view(2, 4, 1, 2400)
    assert torch.equal(torch.stack(found), expected)


def test_a_resumed_run_on_streams_equals_an_undisturbed_one(
    make_config: Callable[..., RunConfig], make_trainer: Callable[..., Trainer], pattern: str
) -> None:
    changes: dict[str, Any] = {"data": {"train": [], "shards": [pattern], "shuffle_buffer": 3}}
    undisturbed = make_trainer(make_config("one", **changes))
    undisturbed.fit()
    config = make_config("two", **changes)
    make_trainer(config).fit(stop_at=5)
    resumed = make_trainer(config, resume=True)
    resumed.fit()
    found: dict[str, Tensor] = resumed.plain_codec.state_dict()
    for name, value in undisturbed.plain_codec.state_dict().items():
        assert torch.equal(value, found[name]), name


def test_mixed_rates_are_said_once(
    manifest: Path, pattern: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, *others = read_manifest(manifest)
    audio_io.write(tmp_path / "slow.wav", torch.zeros(8000), 16_000)
    slow = Utterance("slow", tmp_path / "slow.wav", 8000, 16_000)
    write_shards([first, slow, *others], tmp_path / "mixed", Options("opus"))
    with caplog.at_level("INFO", logger="codec"):
        crops = streamed(f"pipe:cat {tmp_path}/mixed/train-000000.tar")
        list(islice(crops.crops(Share(0, 1), 0), 22))
    assert [record.getMessage() for record in caplog.records] == [
        "resampled to 24000 Hz: 1 at 16000 Hz of 11 utterances"
    ]
    caplog.clear()
    index = json.loads((tmp_path / "mixed" / "index.json").read_text())
    del index["shards"][0]["sample_rates"]  # as it was before rates were kept
    (tmp_path / "mixed" / "index.json").write_text(json.dumps(index))
    with caplog.at_level("INFO", logger="codec"):
        again = streamed(f"pipe:cat {tmp_path}/mixed/train-000000.tar")
        assert torch.equal(next(again.crops(Share(0, 1), 0)), next(crops.crops(Share(0, 1), 0)))
        streamed(pattern)  # all at the model's rate
    assert caplog.records == []


def test_statistics_come_from_a_few_shards(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_STATISTICS_RECORDINGS", 4)
    opened: list[str] = []
    monkeypatch.setattr(streaming, "_opened", lambda url: opened.append(url) or OPEN(url))
    crops = streamed(pattern)
    opened.clear()
    found = {position: crops[position] for position in range(3, 20)}
    assert len(set(opened)) < len(crops.shards)
    few = crops._few()
    assert set(opened) == {shard.url for shard in few.shards}
    assert sum(shard.utterances for shard in few.shards[:-1]) < 4 <= sum(shard.utterances for shard in few.shards)
    assert len({crop.sum().item() for crop in found.values()}) == len(found)
    # A process that takes every other handful of positions reads the same, also over the end of a pass.
    other = streamed(pattern)
    for position in (3, 4, 9, 10, 18, 19, 5):
        assert torch.equal(other[position], found[position])


def test_the_stream_of_statistics_ends_at_the_switch(
    make_config: Callable[..., RunConfig],
    make_trainer: Callable[..., Trainer],
    pattern: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    take = StreamedCrops.__getitem__
    monkeypatch.setattr(StreamedCrops, "__getitem__", lambda self, at: read.append(at) or take(self, at))
    trainer = make_trainer(make_config(data={"train": [], "shards": [pattern], "shuffle_buffer": 3}))
    trainer.fit(stop_at=5)
    assert isinstance(trainer.dataset, StreamedCrops)
    assert read and trainer.dataset._ahead is None


class Breaking:
    """A stream of bytes that fails behind so many."""

    def __init__(self, stream: Any, size: float) -> None:
        self.stream, self.left = stream, size

    def __enter__(self) -> Breaking:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def read(self, size: int) -> bytes:
        if self.left <= 0:
            raise ConnectionResetError("reset\nby peer")
        self.left -= size
        data: bytes = self.stream.read(size)
        return data


def test_a_stream_that_breaks_off_goes_on_where_it_was(
    pattern: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = list(islice(streamed(pattern).crops(Share(0, 1), 0), 20))
    crops = streamed(pattern)
    size, pauses = 0, []

    def breaking(url: str) -> Breaking:  # each stream comes a little farther than the one before
        nonlocal size
        size = 0 if size >= 120_000 else size + 30_000
        return Breaking(OPEN(url), size)

    monkeypatch.setattr(streaming, "_opened", breaking)
    monkeypatch.setattr(streaming, "time", SimpleNamespace(sleep=pauses.append))
    found = list(islice(crops.crops(Share(0, 1), 0), 20))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert pauses and "trying again in 1 s" in caplog.text

    pauses.clear()
    monkeypatch.setattr(streaming, "_opened", lambda url: Breaking(OPEN(url), 1))
    with pytest.raises(CodecError, match=r"broke off after 0 of \d recordings \(reset by peer\), 6 times; .*--resume"):
        next(crops.crops(Share(0, 1), 0))
    assert pauses == [1, 2, 4, 8, 16]


def test_leaving_a_program_that_still_sends_is_no_error(folder: Path) -> None:
    url = f"pipe:cat {folder}/train-000000.tar /dev/zero; exit 3"
    recordings = StreamedCrops([streaming.RemoteShard(url, 2)], 24_000, DataConfig(shards=(url,)), 0)._read(0)
    assert isinstance(next(recordings), bytes)
    recordings.close()  # type: ignore[attr-defined]


def test_what_cannot_be_fetched_is_named(
    pattern: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_PAUSE_S", 0.0)

    def fails(url: str, *parts: str) -> None:
        with pytest.raises(CodecError) as error:
            list(islice(streamed(url).crops(Share(0, 1), 0), 10))
        assert all(part in str(error.value) for part in parts), error.value
        assert "\n" not in str(error.value)

    fails(f"pipe:cat {tmp_path}/train-000000.tar", "index.json: cannot be fetched", "beside the shards")
    fails("pipe:echo", "names no tar file")
    index = json.loads((folder / "index.json").read_text())
    (tmp_path / "index.json").write_text("[]")
    fails(f"pipe:cat {tmp_path}/train-000000.tar", "not the index of shards")
    (tmp_path / "index.json").write_text(json.dumps(index))
    fails(f"pipe:cat {tmp_path}/other.tar", "does not list it")
    fails(f"pipe:cat {tmp_path}/train-000000.tar", "train-000000.tar: the stream broke off after 0 of")
    whole = (folder / "train-000000.tar").read_bytes()
    (tmp_path / "train-000000.tar").write_bytes(whole[: len(whole) // 2])
    fails(f"pipe:cat {tmp_path}/train-000000.tar", "train-000000.tar: the stream broke off after ")
    with pytest.raises(CodecError, match=r"set data\.workers lower, or make smaller shards"):
        next(crop_loader(streamed(pattern), StepSampler(8, 0, 1, world=8), 2, pin_memory=False))
    assert [shard.utterances for shard in find_remote_shards([pattern, pattern])] == [
        entry["utterances"] for entry in index["shards"]
    ]
