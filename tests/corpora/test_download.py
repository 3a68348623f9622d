"""Downloads end whole or not at all, and nothing is fetched twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Server, serving

from codec.corpora.download import RemoteFile, download, verify
from codec.errors import CodecError

CONTENT = os.urandom(3 << 20)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.corpora.download.PAUSES_S", (0.0,) * 5)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.files["a.tar.gz"] = CONTENT
        yield server


def remote(server: Server, *names: str, checksum: str = CHECKSUM) -> RemoteFile:
    return RemoteFile("a.tar.gz", checksum, tuple(server.url(name) for name in names or ("a.tar.gz",)))


def test_a_whole_file_arrives_with_progress_and_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = download(remote(server), tmp_path / "new", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    download(remote(server), tmp_path / "new")
    assert server.ranges == [None]


def test_an_md5_sum_will_do(server: Server, tmp_path: Path) -> None:
    checksum = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    assert download(remote(server, checksum=checksum), tmp_path).read_bytes() == CONTENT


def test_a_broken_connection_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.break_after = [2 << 20, 1000]
    assert download(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={2 << 20}-", f"bytes={(2 << 20) + 1000}-"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.tar.gz.completed", "a.tar.gz"]


def test_another_run_goes_on_where_the_first_broke_off(server: Server, tmp_path: Path) -> None:
    server.break_after = [1 << 18] * 5
    with pytest.raises(CodecError, match=r"a\.tar\.gz: could not be downloaded .*1,310,720 bytes are kept, run again"):
        download(remote(server), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz.part"]
    assert download(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={5 << 18}-"


def test_a_server_without_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.break_after = [1 << 20]
    assert download(remote(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [0, 5])
def test_a_part_as_long_as_the_file_or_longer(server: Server, tmp_path: Path, extra: int) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(CONTENT + bytes(extra))
    assert download(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_wrong_part_is_thrown_away_in_the_end(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(b"from something else")
    assert download(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=19-", None]


def test_the_second_mirror_helps_when_the_first_is_gone_damaged_or_dead(server: Server, tmp_path: Path) -> None:
    server.files["damaged"] = bytes(1000)
    for number, first in enumerate(("missing", "damaged")):
        assert download(remote(server, first, "a.tar.gz"), tmp_path / f"{number}").read_bytes() == CONTENT
    dead = RemoteFile("a.tar.gz", CHECKSUM, ("http://127.0.0.1:9/a.tar.gz", server.url("a.tar.gz")))
    assert download(dead, tmp_path / "dead").read_bytes() == CONTENT


def test_a_corrupted_file_is_refused_and_never_has_its_name(server: Server, tmp_path: Path) -> None:
    server.files["a.tar.gz"] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(CodecError, match="what came has another checksum"):
        download(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_on_the_disk_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = download(remote(server), tmp_path)
    path.write_bytes(CONTENT[:1000])
    assert download(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CodecError, match="cannot be written"):
        download(remote(server), tmp_path / "file")


def test_a_full_disk_is_said_and_keeps_what_came(server: Server, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "a.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(CodecError, match=r"No space left on device.*make room"):
        download(remote(server), tmp_path)


def test_verify(server: Server, tmp_path: Path) -> None:
    file = remote(server)
    with pytest.raises(CodecError, match=r"a\.tar\.gz: is missing; download it first"):
        verify(file, tmp_path)
    (tmp_path / "a.tar.gz.part").write_bytes(CONTENT[:10])
    with pytest.raises(CodecError, match="is half-downloaded"):
        verify(file, tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(CONTENT[:10])
    with pytest.raises(CodecError, match="damaged or not whole"):
        verify(file, tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(CONTENT)
    read: list[int] = []
    verify(file, tmp_path, progress=lambda done, total: read.append(done))
    assert read[-1] == len(CONTENT)
    verify(file, tmp_path, progress=lambda done, total: pytest.fail("read again although nothing changed"))
