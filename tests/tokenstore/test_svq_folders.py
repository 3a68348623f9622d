"""A folder of .svq files is a token dataset."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor
from torch.utils.data import DataLoader

import codec.tokenstore.token_files as token_files
from codec import Codec, CodecError, TokenDataset
from codec.bitstream import Header, TokenWriter, read_tokens, write_tokens

MAKER = "0123456789abcdef"
NAMES = ("b.wav", "x/a.wav", "x/a.flac", "x y/ä.mp3", "a")  # not in order
ORDER = ["a", "b.wav", "x/a.flac", "x/a.wav", "x y/ä.mp3"]  # part by part


def write(path: Path, num_samples: int, first: int = 0, maker: str = MAKER) -> list[int]:
    header = Header(maker, 24_000, 320, 64, num_samples)
    tokens = (first + 7 * np.arange(header.num_frames or 0)) % 64
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tokens(path, header, tokens)
    return tokens.tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        write(tmp_path / "tokens" / f"{name}.svq", 1 + 320 * 100 * number, number)
    write(tmp_path / "tokens" / ".hidden.svq", 5)
    return tmp_path / "tokens"


def test_recordings_by_path(folder: Path) -> None:
    data = TokenDataset(folder)
    assert data.ids() == [entry.id for entry in data] == ORDER
    assert len(data) == 5 and data.model.fingerprint == MAKER and data.model.codebook_size == 64
    for number, name in enumerate(NAMES):
        entry = data.find(name)
        assert entry.id == name
        assert entry.num_samples == 1 + 320 * 100 * number
        assert entry.tokens.tolist() == [(number + 7 * place) % 64 for place in range(100 * number + 1)]
        assert (entry.text, entry.speaker, entry.split) == (None, "", "")
    assert sum(shard.tokens for shard in data.shards) == sum(entry.num_tokens for entry in data)
    assert data.shards[0].samples == sum(entry.num_samples for entry in data)
    assert data.shards[0].num_bytes == sum((folder / f"{name}.svq").stat().st_size for name in NAMES)
    with pytest.raises(CodecError, match=r"no recording with the id 'b'; ids are paths below it without \.svq, such"):
        data.find("b")


def test_what_a_codec_saves_comes_back(tmp_path: Path, tiny_codec: Codec, speech: Tensor) -> None:
    tokens = tiny_codec.encode(speech[:5000])
    tiny_codec.save_tokens(tmp_path / "one.svq", tokens)
    data = TokenDataset(tmp_path)
    data.check_model(tiny_codec)
    assert tiny_codec.decode(data[0].encoded()).equal(tiny_codec.decode(tokens))
    write(tmp_path / "other" / "two.svq", 5)
    with pytest.raises(CodecError, match=f"made by encoder {MAKER} .* with the model that encoded it"):
        TokenDataset(tmp_path / "other").check_model(tiny_codec)


def test_opening_reads_headers_alone_and_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(token_files, "read_tokens", lambda path: read.append(path) or read_tokens(path))  # type: ignore[func-returns-value]
    data = TokenDataset(folder)
    assert not read
    data[1]
    assert read == [folder / "b.wav.svq"]
    monkeypatch.setattr(token_files, "reading_tokens", None)
    assert pickle.loads(pickle.dumps(data)).ids() == data.ids()


@pytest.mark.parametrize("workers", [0, 2])
def test_shared_over_ranks_and_workers(folder: Path, workers: int) -> None:
    data = TokenDataset(folder)
    orders = []
    for epoch in (0, 1, 0):
        found: list[str] = []
        for rank in range(2):
            stream = data.stream(shuffle=True, seed=2, rank=rank, world=2)
            stream.set_epoch(epoch)
            found += [entry.id for entry in DataLoader(stream, batch_size=None, num_workers=workers * (rank == 0))]
        assert sorted(found) == sorted(data.ids())
        orders.append(found)
    assert orders[0] == orders[2] != orders[1]


def test_several_models_are_refused(folder: Path) -> None:
    write(folder / "x" / "b.svq", 5, maker="f" * 16)
    with pytest.raises(CodecError, match=r"b\.svq: made by encoder f{16}, but .*a\.svq by 0123.*a folder of their own"):
        TokenDataset(folder)


def test_a_file_that_is_replaced_later_is_refused(folder: Path) -> None:
    data = TokenDataset(folder)
    write(folder / "b.wav.svq", 5, maker="f" * 16)
    with pytest.raises(CodecError, match=r"b\.wav\.svq: made by encoder f{16}, and it was 0123.*; open it again"):
        data.find("b.wav")


def test_damaged_files_are_named(folder: Path) -> None:
    path = folder / "x" / "a.wav.svq"
    whole = path.read_bytes()
    data = TokenDataset(folder)
    for place in (60, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(
            CodecError, match=r"a\.wav\.svq: .* damaged.*; get it again, or delete it and run codec enc"
        ):
            data.find("x/a.wav")
    path.write_bytes(whole[:-30])
    with pytest.raises(CodecError, match=r"a\.wav\.svq: it ends early"):
        data.find("x/a.wav")
    for content in (b"", whole[:20], b"RIFF" + whole):
        path.write_bytes(content)
        with pytest.raises(CodecError, match=r"a\.wav\.svq: "):
            TokenDataset(folder)
    path.unlink()
    with pytest.raises(CodecError, match=r"a\.wav\.svq: cannot be read"):
        data.find("x/a.wav")


def test_files_from_a_pipe_tell_their_length_at_the_end(folder: Path) -> None:
    path = folder / "piped.svq"
    with path.open("wb") as file:
        writer = TokenWriter(file, Header(MAKER, 24_000, 320, 64, None))
        writer.write(np.arange(3))
        writer.finish(700)
    assert TokenDataset(folder).find("piped").num_samples == 700
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CodecError, match=r"piped\.svq: was cut short.*; get it again"):
        TokenDataset(folder)


def test_other_sources_are_refused_in_words(folder: Path) -> None:
    with pytest.raises(CodecError, match=r"a\.svq: is one recording, which codec\.load_tokens reads; give the folder"):
        TokenDataset(folder / "a.svq")
    write(folder / "a.SVQ", 5)
    with pytest.raises(CodecError, match=r"two token files have this name up to \.svq; rename one"):
        TokenDataset(folder)
