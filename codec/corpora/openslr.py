"""Where LibriTTS (OpenSLR 60) and LibriTTS-R (OpenSLR 141) are published, and how their archives become a folder.

An archive holds one split, ``LibriTTS/dev-clean/...``, and the tables that all splits share, ``LibriTTS/speakers.tsv``.
One more of LibriTTS-R has the lists of what was badly restored (:mod:`codec.corpora.failed_lists`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codec.corpora import archives, download
from codec.corpora.download import RemoteFile
from codec.corpora.libritts import FAILED_LISTS
from codec.errors import CodecError
from codec.files import write_text

MIRRORS = ("https://www.openslr.org", "https://us.openslr.org", "https://openslr.elda.org")
COMPLETED = ".completed"  # in a split's folder: which archive it was unpacked from


@dataclass(frozen=True)
class Corpus:
    """A corpus as OpenSLR publishes it."""

    name: str
    resource: int  # OpenSLR's number
    checksums: dict[str, str]  # of each split's archive
    restored: bool = False  # LibriTTS-R, where that failed for some utterances

    def archive(self, split: str, mirrors: Sequence[str] = MIRRORS) -> RemoteFile:
        """The archive of a split.

        Raises:
            CodecError: the corpus has no such split.
        """
        if split not in self.checksums:
            raise CodecError(f"{self.name} has no split {split!r}; its splits are {', '.join(self.checksums)}")
        name = f"{split.replace('-', '_') if self.restored else split}.tar.gz"
        return self._file(name, self.checksums[split], mirrors)

    def failed_lists(self, mirrors: Sequence[str] = MIRRORS) -> RemoteFile | None:
        """The archive of the lists of utterances whose restoration failed; None where nothing was restored."""
        return self._file(f"{FAILED_LISTS}.tar.gz", "", mirrors) if self.restored else None

    def _file(self, name: str, checksum: str, mirrors: Sequence[str]) -> RemoteFile:
        urls = tuple(f"{mirror.rstrip('/')}/resources/{self.resource}/{name}" for mirror in mirrors)
        return RemoteFile(name, checksum, urls)


CORPORA = {
    "libritts": Corpus(
        "libritts",
        60,
        {
            "train-clean-100": "sha256:c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b",
            "train-clean-360": "sha256:ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886",
            "train-other-500": "sha256:e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df",
            "dev-clean": "sha256:da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a",
            "dev-other": "sha256:d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c",
            "test-clean": "sha256:234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5",
            "test-other": "sha256:33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d",
        },
    ),
    "libritts-r": Corpus(
        "libritts-r",
        141,
        {
            "train-clean-100": "md5:6df668d8f5f33e70876bfa33862ad02b",
            "train-clean-360": "md5:382eb3e64394b3da6a559f864339b22c",
            "train-other-500": "md5:a37a8e9f4fe79d20601639bf23d1add8",
            "dev-clean": "md5:2c1f5312914890634cc2d15783032ff3",
            "dev-other": "md5:62d3a80ad8a282b6f31b3904f0507e4f",
            "test-clean": "md5:4d373d453eb96c0691e598061bbafab7",
            "test-other": "md5:dbc0959d8bdb6d52200595cabc9995ae",
        },
        restored=True,
    ),
}


def corpus(name: str) -> Corpus:
    """A published corpus by name.

    Raises:
        CodecError: an unknown name.
    """
    if name not in CORPORA:
        raise CodecError(f"corpus {name!r} is not known; known are {', '.join(CORPORA)}")
    return CORPORA[name]


def is_unpacked(archive: RemoteFile, split_dir: Path) -> bool:
    """Whether a split's folder is there; its archive is not needed any more then.

    A folder without our marker was unpacked by hand, and is taken as it is.

    Raises:
        CodecError: it was unpacked from another archive (LibriTTS and LibriTTS-R have the same splits).
    """
    if not split_dir.is_dir():
        return False
    marker = split_dir / COMPLETED
    if marker.exists() and marker.read_text(encoding="utf-8").strip() != archive.checksum:
        raise CodecError(f"{split_dir}: was unpacked from another archive; give another folder, or delete this one")
    return True


def fetch(archive: RemoteFile, archives_dir: Path, split_dir: Path, progress: download.Progress | None = None) -> bool:
    """Download a split's archive; False where there was nothing to do.

    Raises:
        CodecError: what :func:`codec.corpora.download.download` raises.
    """
    if is_unpacked(archive, split_dir):
        return False
    download.download(archive, archives_dir, progress=progress)
    return True


def verify(archive: RemoteFile, archives_dir: Path, split_dir: Path, progress: download.Progress | None = None) -> bool:
    """Check a split's archive; False where there was nothing to do.

    Raises:
        CodecError: what :func:`codec.corpora.download.verify` raises.
    """
    if is_unpacked(archive, split_dir):
        return False
    download.verify(archive, archives_dir, progress=progress)
    return True


def unpack(archive: RemoteFile, archives_dir: Path, split_dir: Path, progress: archives.Progress | None = None) -> bool:
    """Unpack a split's archive; False where there was nothing to do.

    The folder appears whole or not at all: everything is unpacked beside it, and renamed. Its marker names the
    published checksum, so an archive that has not been verified, or has changed since, is verified now.

    Raises:
        CodecError: what :func:`codec.corpora.download.verify` and :func:`codec.corpora.archives.extract` raise, or an
            archive that does not hold the split.
    """
    if is_unpacked(archive, split_dir):
        return False
    download.verify(archive, archives_dir, progress=progress)
    temporary = split_dir.with_name(f".{split_dir.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        archives.extract(archives_dir / archive.name, temporary, progress=progress)
        found = next(temporary.glob(f"*/{split_dir.name}"), None)
        if found is None:
            raise CodecError(f"{archives_dir / archive.name}: holds no folder {split_dir.name}; is it another archive?")
        write_text(found / COMPLETED, archive.checksum + "\n")
        for table in found.parent.iterdir():
            if table.is_file():
                table.replace(split_dir.parent / table.name)
        found.rename(split_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True
