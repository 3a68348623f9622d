"""Nothing leaves the folder that an archive is unpacked into."""

from __future__ import annotations

import io
import resource
import tarfile
from pathlib import Path

import pytest
from pythons import needs_unpacking

from codec.corpora.archives import extract
from codec.errors import CodecError


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@needs_unpacking
def test_files_and_folders_arrive_with_progress(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar.gz",
        (tarfile.TarInfo("LibriTTS/a.txt"), b"text"),
        (tarfile.TarInfo("LibriTTS/deep/er/b.wav"), bytes(50_000)),
    )
    seen: list[tuple[int, int]] = []
    extract(path, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "out/LibriTTS/a.txt").read_bytes() == b"text"
    assert (tmp_path / "out/LibriTTS/deep/er/b.wav").stat().st_size == 50_000
    assert seen and all(0 < done <= total == path.stat().st_size for done, total in seen)


@needs_unpacking
@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("LibriTTS/../../outside"),
        link("LibriTTS/way-out", "../../outside"),
        link("LibriTTS/way-out", "/etc"),
        link("LibriTTS/way-out", "../outside", tarfile.LNKTYPE),
        link("LibriTTS/device", "", tarfile.CHRTYPE),
    ],
    ids=["dots", "dots within", "link", "absolute link", "hard link", "device"],
)
def test_a_member_that_escapes_ends_it(tmp_path: Path, member: tarfile.TarInfo) -> None:
    path = archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("LibriTTS/first"), b"1"), (member, b""))
    with pytest.raises(CodecError, match=r"a\.tar\.gz: not to be trusted") as caught:
        extract(path, tmp_path / "deep" / "out")
    assert "\n" not in str(caught.value)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir()) == [
        "a.tar.gz",
        "deep/out/LibriTTS/first",
    ]


@needs_unpacking
def test_writing_through_a_link_that_came_before_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    members = (link("LibriTTS/up", ".."), b""), (tarfile.TarInfo("LibriTTS/up/../../victim/file"), b"1")
    with pytest.raises(CodecError, match="not to be trusted"):
        extract(archive(tmp_path / "a.tar.gz", *members), tmp_path / "out")
    assert list((tmp_path / "victim").iterdir()) == []


@needs_unpacking
def test_an_absolute_name_lands_inside(tmp_path: Path) -> None:
    extract(archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("/etc/passwd"), b"root")), tmp_path / "out")
    assert (tmp_path / "out" / "etc" / "passwd").read_bytes() == b"root"


@needs_unpacking
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_that_was_cut_short_is_named(tmp_path: Path, share: float) -> None:
    path = archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("a"), bytes(range(256)) * 2000))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CodecError, match=r"a\.tar\.gz: damaged or not whole"):
        extract(path, tmp_path / "out")


@needs_unpacking
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("LibriTTS/b.wav"), bytes(50_000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (10_000, before[1])
    )  # refused in the middle of writing, as by a full disk
    try:
        with pytest.raises(CodecError, match=r"a\.tar\.gz: cannot be unpacked into .* \(File too large\); make room"):
            extract(path, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@needs_unpacking
def test_no_archive_and_no_archive_at_all(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="No such file"):
        extract(tmp_path / "none.tar.gz", tmp_path / "out")
    (tmp_path / "text.tar.gz").write_text("just a text")
    with pytest.raises(CodecError, match="damaged or not whole"):
        extract(tmp_path / "text.tar.gz", tmp_path / "out")


def test_a_python_that_unpacks_anything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive(tmp_path / "some.tar.gz", (tarfile.TarInfo("file"), b""))
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(CodecError, match=r"update it to 3\.11\.4"):
        extract(packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()
