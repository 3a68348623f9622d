"""Every format gives back what went in, and says in one line what is wrong with it."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenized import IDS, encoded_alone
from torch.utils.data import DataLoader

from codec import Codec, CodecError, TokenDataset
from codec.manifest import Utterance
from codec.pretrained import sha256_of
from codec.tokenstore import FORMATS, Index

Make = Callable[[str], tuple[Path, Index]]


@pytest.mark.parametrize("name", FORMATS)
def test_gives_back_what_encoding_one_by_one_gives(
    name: str, make_dataset: Make, tiny_codec: Codec, utterances: list[Utterance]
) -> None:
    folder, index = make_dataset(name)
    data = TokenDataset(folder)
    assert len(index.shards) >= 3
    assert len(data) == index.utterances == len(utterances)
    assert data.ids() == [item.id for item in utterances]
    for place, utterance in enumerate(utterances):
        entry = data[place]
        assert entry.tokens.dtype == torch.int64
        assert entry.tokens.tolist() == encoded_alone(tiny_codec, utterance)
        assert (entry.id, entry.text, entry.speaker, entry.split) == (
            utterance.id,
            utterance.text,
            utterance.speaker,
            utterance.split,
        )
        assert data.find(utterance.id).num_samples == entry.num_samples
    assert data[-1].id == "other-rate"
    assert data[-1].num_samples == 30_000  # at the codec's rate
    assert [entry.id for entry in data] == data.ids()
    with pytest.raises(IndexError):
        data[len(data)]


def test_single_shards_are_datasets_too(make_dataset: Make) -> None:
    folder, index = make_dataset("parquet")
    second = TokenDataset(folder / index.shards[1].file)
    assert len(second) == index.shards[1].utterances
    both = TokenDataset([folder / index.shards[1].file, folder / index.shards[0].file])
    assert both.ids() == TokenDataset(folder).ids()[: len(both)]
    with pytest.raises(CodecError, match=r"tokens-99999\.parquet: no shard of the dataset"):
        TokenDataset(folder / "tokens-99999.parquet")


def test_audio_comes_back_from_any_format(make_dataset: Make, tiny_codec: Codec) -> None:
    audio = {}
    for name in FORMATS:
        data = TokenDataset(make_dataset(name)[0])
        data.check_model(tiny_codec)
        audio[name] = tiny_codec.decode(data.find("Äpfel und 梨").encoded())
        assert audio[name].shape == (1, 1, 6401)
    assert all(torch.equal(audio["jsonl"], other) for other in audio.values())


def test_several_folders_and_other_places_are_refused_in_words(make_dataset: Make) -> None:
    (one, _), (other, _) = make_dataset("jsonl"), make_dataset("npy")
    with pytest.raises(CodecError, match="ConcatDataset joins several"):
        TokenDataset([one, other])
    data = TokenDataset(one)
    for place in (slice(0, 2), "some id"):
        with pytest.raises(TypeError, match=r"find\(id\) gives the recording of an id"):
            data[place]  # type: ignore[index]
    assert data[np.int64(1)].id == data[torch.tensor(1)].id == data[1].id


def test_another_model_is_refused(make_dataset: Make, tiny_codec: Codec) -> None:
    data = TokenDataset(make_dataset("jsonl")[0])
    with torch.no_grad():
        next(tiny_codec.parameters()).add_(1)
    with pytest.raises(CodecError, match=r"made by encoder .* \(tiny\), but mine has encoder .* that encoded it"):
        data.check_model(tiny_codec, "mine")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_shared_without_gap_or_overlap(make_dataset: Make, workers: int) -> None:
    data = TokenDataset(make_dataset("npy")[0])
    orders = []
    for shuffle, epoch in ((False, 0), (True, 0), (True, 1)):
        found: list[str] = []
        for rank in range(3):
            stream = data.stream(shuffle=shuffle, seed=5, rank=rank, world=3)
            stream.set_epoch(epoch)
            loader = DataLoader(stream, batch_size=None, num_workers=workers if rank == 0 else 0)
            found += [entry.id for entry in loader]
        assert sorted(found) == sorted(data.ids())
        orders.append(found)
    assert orders[1] != orders[2]
    assert orders[0] != orders[1]
    large = data.stream(shuffle=True, seed=2**63 + 5)  # as torch.initial_seed() has them
    assert sorted(entry.id for entry in large) == sorted(data.ids())
    again = data.stream(shuffle=True, seed=5)
    assert [entry.id for entry in again] == [entry.id for entry in again]
    with pytest.raises(CodecError, match="expected 0 <= rank < world"):
        data.stream(rank=3, world=3)


def test_a_stream_may_be_made_before_the_process_group(make_dataset: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process read everything then, and nobody said so."""
    data = TokenDataset(make_dataset("npy")[0])
    stream = data.stream()
    assert [entry.id for entry in stream] == data.ids()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    found = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        found.append([entry.id for entry in stream])
        loader = DataLoader(stream, batch_size=None, num_workers=1)
        assert [entry.id for entry in loader] == found[-1]
    assert found[0] + found[1] == data.ids()
    sent = pickle.dumps(stream)
    monkeypatch.undo()
    assert [entry.id for entry in pickle.loads(sent)] == found[1]


def test_workers_that_persist_hear_of_the_epoch(make_dataset: Make) -> None:
    stream = TokenDataset(make_dataset("npy")[0]).stream(shuffle=True, seed=5)
    loader = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append([entry.id for entry in loader])
        assert orders[-1] == [entry.id for entry in stream]
    assert orders[0] == orders[2] != orders[1]


def test_a_map_style_loader_works_too(make_dataset: Make) -> None:
    data = TokenDataset(make_dataset("webdataset")[0])
    data[0]  # an open shard stays in this process
    sent = pickle.loads(pickle.dumps(data))  # as to a worker that is not forked
    loader = DataLoader(sent, batch_size=2, num_workers=1, collate_fn=list)
    assert [entry.id for batch in loader for entry in batch] == data.ids()


@pytest.mark.parametrize("name", FORMATS)
def test_missing_and_damaged_shards_are_named(name: str, make_dataset: Make) -> None:
    folder, index = make_dataset(name)
    path = folder / index.shards[0].file
    whole = path.read_bytes()

    def fails(*parts: str) -> None:
        with pytest.raises(CodecError) as error:
            TokenDataset(folder)[0]
        assert all(part in str(error.value) for part in (path.name, *parts)), error.value
        assert "\n" not in str(error.value)

    path.write_bytes(whole[: len(whole) // 3])
    fails("again")
    path.write_bytes(b"")
    fails("again")
    path.unlink()
    fails("the shard is missing; run recipes/tokenize.py again")


def without_checksums(folder: Path) -> None:
    """Make the index one of version 1."""
    entry = json.loads((folder / "index.json").read_text())
    for shard in entry["shards"]:
        del shard["sha256"]
    (folder / "index.json").write_text(json.dumps({**entry, "version": 1}))


@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_bit_is_noticed_anywhere(name: str, make_dataset: Make) -> None:
    folder, index = make_dataset(name)
    for path in sorted(folder.glob("tokens-00001.*")):
        whole = path.read_bytes()
        for place in range(0, len(whole), 1 + len(whole) // 40):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(CodecError, match=rf"{path.name}: the shard is damaged \(SHA-256 differs.*get it again"):
                list(TokenDataset(folder))
        path.write_bytes(whole)
    assert len(list(TokenDataset(folder))) == index.utterances


def test_each_shard_is_compared_once(make_dataset: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, index = make_dataset("npy")
    read: list[Path] = []

    def watched(path: Path) -> str:
        read.append(path)
        return sha256_of(path)

    monkeypatch.setattr("codec.tokenstore.shards.sha256_of", watched)
    monkeypatch.setattr("codec.tokenstore.shards.OPEN_SHARDS", 1)
    data = TokenDataset(folder)
    assert not read
    assert [entry.id for entry in data] == [entry.id for entry in data]
    assert sorted(read) == sorted(folder.glob("tokens-*")) and len(read) == 2 * len(index.shards)


def test_datasets_without_checksums_are_read(make_dataset: Make) -> None:
    folder, _ = make_dataset("jsonl")
    expected = [entry.tokens.tolist() for entry in TokenDataset(folder)]
    without_checksums(folder)
    assert [entry.tokens.tolist() for entry in TokenDataset(folder)] == expected


@pytest.mark.parametrize("token", [64, -1])
def test_a_token_outside_the_codebook_is_refused(make_dataset: Make, token: int) -> None:
    folder, index = make_dataset("jsonl")
    without_checksums(folder)
    path = folder / index.shards[0].file
    first, *rest = path.read_bytes().split(b"\n")
    entry = json.loads(first)
    path.write_bytes(b"\n".join([json.dumps({**entry, "tokens": [3, token]}).encode(), *rest]))
    with pytest.raises(CodecError, match=rf"{path.name}: a has tokens from .* of 64 codes; get it again"):
        TokenDataset(folder)[0]


def test_a_tar_that_ends_between_two_members_is_noticed(make_dataset: Make) -> None:
    folder, index = make_dataset("webdataset")
    without_checksums(folder)
    number = next(place for place, shard in enumerate(index.shards) if shard.utterances > 1)
    path = folder / index.shards[number].file
    path.write_bytes(path.read_bytes()[:2048])  # json and npy of the first recording, each a block with a header
    with pytest.raises(CodecError, match="holds 1 recordings, the index promises"):
        TokenDataset(path)[0]


def test_webdataset_reads_the_shards(make_dataset: Make) -> None:
    import webdataset

    folder, index = make_dataset("webdataset")
    data = TokenDataset(folder)
    shards = [str(folder / shard.file) for shard in index.shards]
    items = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert [item["json"]["id"] for item in items] == data.ids()
    for item, entry in zip(items, data, strict=True):
        assert item["npy"].dtype == np.uint16
        assert item["npy"].tolist() == entry.tokens.tolist()


def test_plain_programs_read_the_shards(make_dataset: Make) -> None:
    import pyarrow.parquet

    folder, index = make_dataset("parquet")
    table = pyarrow.parquet.read_table([folder / shard.file for shard in index.shards])
    assert table.column("id").to_pylist()[: len(IDS)] == list(IDS)
    metadata = pyarrow.parquet.read_schema(folder / index.shards[0].file).metadata
    assert metadata[b"fingerprint"].decode() == index.model.fingerprint
    folder, index = make_dataset("npy")
    flat = np.concatenate([np.load(folder / shard.file, mmap_mode="r") for shard in index.shards])
    assert flat.dtype == np.uint16 and len(flat) == index.tokens
    assert flat.tolist() == [token for entry in TokenDataset(folder) for token in entry.tokens.tolist()]


def test_a_missing_package_is_named(make_dataset: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = make_dataset("parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(CodecError, match=r"pip install -e '\.\[data\]' in the checkout, or pip install pyarrow"):
        TokenDataset(folder)


def test_folders_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"no token file below it; .* a token dataset has index\.json"):
        TokenDataset(tmp_path)
    with pytest.raises(CodecError, match=r"nofolder: no such file or folder; give the folder of a token dataset"):
        TokenDataset(tmp_path / "nofolder")
    with pytest.raises(CodecError, match="no shards given"):
        TokenDataset([])
    for content, reason in (
        ("{", "not JSON"),
        ('{"version": 99}', "version 99, this program reads 2"),
        ('{"version": 1}', "not the index of a token dataset"),
    ):
        (tmp_path / "index.json").write_text(content)
        with pytest.raises(CodecError, match=reason):
            TokenDataset(tmp_path)


def test_large_codebooks_take_four_bytes() -> None:
    from codec.tokenstore.entry import token_dtype

    assert [token_dtype(size).itemsize for size in (2, 65_536, 65_537, 262_144, 1 << 31)] == [2, 2, 4, 4, 4]
    with pytest.raises(CodecError, match="codebook_size=2147483649: tokens are written in 31 bits"):
        token_dtype((1 << 31) + 1)
    buffer = io.BytesIO()
    np.save(buffer, np.array([262_143], token_dtype(262_144)))
    assert np.load(io.BytesIO(buffer.getvalue())).tolist() == [262_143]
    assert json.dumps(np.array([65_535], token_dtype(65_536)).tolist()) == "[65535]"
