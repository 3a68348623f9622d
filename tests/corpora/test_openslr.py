"""From a published archive to a split's folder, each step once."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Server, serving
from pythons import needs_unpacking

from codec.corpora import openslr
from codec.corpora.download import RemoteFile
from codec.corpora.libritts import KNOWN_SPLITS
from codec.errors import CodecError


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def publish(server: Server, folder: Path, split: str = "dev-clean", text: str = "Maximilian.") -> RemoteFile:
    """Serve a small archive in LibriTTS's layout."""
    chapter = folder / "LibriTTS" / split / "84" / "121123"
    chapter.mkdir(parents=True)
    (chapter / "84_121123_000007_000001.normalized.txt").write_text(text)
    (folder / "LibriTTS" / "speakers.tsv").write_text("READER\tGENDER\n84\tF\n")
    with tarfile.open(folder / "a.tar.gz", "w:gz") as tar:
        tar.add(folder / "LibriTTS", "LibriTTS")
    content = (folder / "a.tar.gz").read_bytes()
    server.files["a.tar.gz"] = content
    return RemoteFile("a.tar.gz", f"sha256:{hashlib.sha256(content).hexdigest()}", (server.url("a.tar.gz"),))


@needs_unpacking
def test_each_step_is_done_once_and_the_archive_may_go_then(server: Server, tmp_path: Path) -> None:
    archive = publish(server, tmp_path / "origin")
    corpus, archives = tmp_path / "corpus", tmp_path / "archives"
    split = corpus / "dev-clean"
    corpus.mkdir()
    steps = (openslr.fetch, openslr.verify, openslr.unpack)
    assert [step(archive, archives, split) for step in steps] == [True, True, True]
    assert (split / "84/121123/84_121123_000007_000001.normalized.txt").read_text() == "Maximilian."
    assert sorted(path.name for path in corpus.iterdir()) == ["dev-clean", "speakers.tsv"]
    (archives / "a.tar.gz").unlink()
    assert [step(archive, archives, split) for step in steps] == [False, False, False]
    assert len(server.ranges) == 1


def test_a_folder_unpacked_by_hand_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    archive = publish(server, tmp_path / "origin")
    split = tmp_path / "corpus" / "dev-clean"
    split.mkdir(parents=True)
    assert not openslr.fetch(archive, tmp_path, split)
    assert not openslr.unpack(archive, tmp_path, split)
    assert list(split.iterdir()) == []


@needs_unpacking
def test_a_folder_from_another_archive_is_left_alone(server: Server, tmp_path: Path) -> None:
    split = tmp_path / "corpus" / "dev-clean"
    first = publish(server, tmp_path / "1")
    openslr.fetch(first, tmp_path, split)
    openslr.unpack(first, tmp_path, split)
    second = publish(server, tmp_path / "2", text="Restored.")
    with pytest.raises(CodecError, match="was unpacked from another archive"):
        openslr.fetch(second, tmp_path, split)
    assert (split / "84/121123/84_121123_000007_000001.normalized.txt").read_text() == "Maximilian."


@needs_unpacking
def test_what_breaks_off_leaves_no_folder_behind(server: Server, tmp_path: Path) -> None:
    archive = publish(server, tmp_path / "origin")
    corpus, archives = tmp_path / "corpus", tmp_path / "archives"
    with pytest.raises(CodecError, match="download it first"):
        openslr.unpack(archive, archives, corpus / "dev-clean")
    openslr.fetch(archive, archives, corpus / "dev-clean")
    with pytest.raises(CodecError, match="holds no folder test-clean"):
        openslr.unpack(archive, archives, corpus / "test-clean")
    whole = (archives / "a.tar.gz").read_bytes()
    (archives / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CodecError, match="damaged or not whole"):
        openslr.verify(archive, archives, corpus / "dev-clean")
    with pytest.raises(CodecError, match="damaged or not whole"):
        openslr.unpack(archive, archives, corpus / "dev-clean")
    assert not corpus.exists() or list(corpus.iterdir()) == []


@needs_unpacking
def test_no_archive_is_unpacked_that_was_not_verified(server: Server, tmp_path: Path) -> None:
    archive = publish(server, tmp_path / "origin")
    archives, split = tmp_path / "archives", tmp_path / "corpus" / "dev-clean"
    publish(server, tmp_path / "other", text="Of somebody else.")
    archives.mkdir()
    (archives / "a.tar.gz").write_bytes((tmp_path / "other" / "a.tar.gz").read_bytes())  # whole, and not the published
    with pytest.raises(CodecError, match=r"a\.tar\.gz: damaged or not whole \(sha256 .*; delete it and download it"):
        openslr.unpack(archive, archives, split)
    assert not split.parent.exists()
    (archives / "a.tar.gz").write_bytes((tmp_path / "origin" / "a.tar.gz").read_bytes())
    assert openslr.unpack(archive, archives, split)
    assert (split / ".completed").read_text().strip() == archive.checksum


@needs_unpacking
def test_what_was_verified_earlier_is_not_read_for_it_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = publish(server, tmp_path / "origin")
    archives, split = tmp_path / "archives", tmp_path / "corpus" / "dev-clean"
    archives.mkdir()
    (archives / "a.tar.gz").write_bytes(server.files["a.tar.gz"])  # brought by hand
    assert openslr.verify(archive, archives, split)
    monkeypatch.setattr(hashlib, "new", None)
    assert openslr.unpack(archive, archives, split)


def test_what_is_known_of_the_published_archives() -> None:
    file = openslr.corpus("libritts").archive("dev-clean")
    assert file.name == "dev-clean.tar.gz"
    assert file.urls[0] == "https://www.openslr.org/resources/60/dev-clean.tar.gz" and len(file.urls) == 3
    file = openslr.corpus("libritts-r").archive("train-clean-100", ["http://localhost/"])
    assert file.urls == ("http://localhost/resources/141/train_clean_100.tar.gz",)
    lists = openslr.corpus("libritts-r").failed_lists()
    assert lists is not None and lists.checksum == "" and len(lists.urls) == 3
    assert lists.urls[0] == (
        "https://www.openslr.org/resources/141/libritts_r_failed_speech_restoration_examples.tar.gz"
    )
    assert openslr.corpus("libritts").failed_lists() is None
    for corpus in openslr.CORPORA.values():
        assert set(corpus.checksums) == set(KNOWN_SPLITS)
        assert len(set(corpus.checksums.values())) == 7
        assert all(re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", text) for text in corpus.checksums.values())
    with pytest.raises(CodecError, match="known are libritts, libritts-r"):
        openslr.corpus("librispeech")
    with pytest.raises(CodecError, match="has no split 'train'; its splits are train-clean-100"):
        openslr.corpus("libritts").archive("train")
