"""LibriTTS-R's lists of utterances whose restoration failed: fetched beside the splits, once for all of them.

No checksum of their archive is known here. That it is whole is what gzip's own sums tell when it is unpacked, and every
line is looked at when it is read (:func:`codec.corpora.libritts.failed_restorations`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from codec.corpora import archives, download
from codec.corpora.download import RemoteFile
from codec.corpora.libritts import FAILED_LISTS, find_failed_lists
from codec.errors import CodecError


def fetch(archive: RemoteFile, archives_dir: Path, corpus_dir: Path, progress: download.Progress | None = None) -> bool:
    """Download the archive of the lists; False where there was nothing to do.

    Raises:
        CodecError: what :func:`codec.corpora.download.download` raises.
    """
    if find_failed_lists(corpus_dir) is not None:
        return False
    download.download(archive, archives_dir, progress=progress)
    return True


def unpack(
    archive: RemoteFile, archives_dir: Path, corpus_dir: Path, progress: archives.Progress | None = None
) -> bool:
    """Unpack the lists into the corpus's folder; False where they are there, or their archive is not.

    Raises:
        CodecError: what :func:`codec.corpora.archives.extract` raises, or an archive without lists.
    """
    path = archives_dir / archive.name
    if find_failed_lists(corpus_dir) is not None or not path.is_file():
        return False
    temporary = corpus_dir / f".{FAILED_LISTS}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        archives.extract(path, temporary, progress=progress)
        if find_failed_lists(temporary) is None:
            raise CodecError(f"{path}: holds no folder {FAILED_LISTS}; delete it and download it again (--stage 1)")
        (temporary / FAILED_LISTS).rename(corpus_dir / FAILED_LISTS)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True
