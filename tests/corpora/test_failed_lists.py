"""The lists of LibriTTS-R's failed restorations: from their archive to the corpus's folder."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Server, serving
from pythons import needs_unpacking

from codec.corpora import failed_lists, libritts
from codec.corpora.download import RemoteFile
from codec.errors import CodecError

FOLDER = "libritts_r_failed_speech_restoration_examples"
NAME = f"{FOLDER}.tar.gz"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def archive(server: Server, tmp_path: Path) -> RemoteFile:
    """As it is published: with ./ before its names, and without a checksum."""
    lists = tmp_path / "origin" / FOLDER
    lists.mkdir(parents=True)
    (lists / "dev-clean_bad_sample_list.txt").write_text("./dev-clean/84/121123/84_121123_000007_000001.wav\n")
    with tarfile.open(tmp_path / NAME, "w:gz") as tar:
        tar.add(lists, f"./{FOLDER}")
    server.files[NAME] = (tmp_path / NAME).read_bytes()
    return RemoteFile(NAME, "", (server.url(NAME),))


@needs_unpacking
def test_they_come_once_and_name_what_failed(server: Server, archive: RemoteFile, tmp_path: Path) -> None:
    corpus, archives = tmp_path / "corpus", tmp_path / "archives"
    assert libritts.find_failed_lists(corpus) is None
    assert failed_lists.fetch(archive, archives, corpus)
    assert failed_lists.fetch(archive, archives, corpus)  # taken as it lies there
    assert len(server.ranges) == 1
    assert failed_lists.unpack(archive, archives, corpus)
    assert [path.name for path in corpus.iterdir()] == [FOLDER]
    assert libritts.failed_restorations(corpus / "dev-clean") == {"84_121123_000007_000001"}
    (archives / NAME).unlink()
    assert not failed_lists.fetch(archive, archives, corpus)
    assert not failed_lists.unpack(archive, archives, corpus)


def test_lists_that_somebody_unpacked_beside_the_corpus_are_enough(
    server: Server, archive: RemoteFile, tmp_path: Path
) -> None:
    (tmp_path / FOLDER).mkdir()
    assert not failed_lists.fetch(archive, tmp_path / "archives", tmp_path / "corpus")
    assert not failed_lists.unpack(archive, tmp_path, tmp_path / "corpus")
    assert server.ranges == [] and not (tmp_path / "corpus").exists()


def test_without_the_archive_nothing_is_unpacked(archive: RemoteFile, tmp_path: Path) -> None:
    assert not failed_lists.unpack(archive, tmp_path / "archives", tmp_path / "corpus")


@needs_unpacking
def test_what_is_no_archive_of_lists_is_refused(archive: RemoteFile, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    (tmp_path / NAME).write_text("<html>not found</html>")
    with pytest.raises(CodecError, match="damaged or not whole"):
        failed_lists.unpack(archive, tmp_path, corpus)
    with tarfile.open(tmp_path / NAME, "w:gz") as tar:
        tar.add(tmp_path / "origin", "somewhere-else")
    with pytest.raises(CodecError, match=f"holds no folder {FOLDER}; delete it"):
        failed_lists.unpack(archive, tmp_path, corpus)
    assert list(corpus.iterdir()) == []
