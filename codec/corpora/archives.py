"""Unpacking archives that nobody has looked into."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from codec.errors import CodecError

Progress = Callable[[int, int], None]  # bytes of the archive read, bytes in all


def extract(archive: str | Path, folder: str | Path, *, progress: Progress | None = None) -> None:
    """Unpack a tar archive (plain, gzip, bzip2 or xz) into ``folder``.

    A member that would land outside ("..", a link that leads out) or that is no file, folder or link ends it: such an
    archive is not to be trusted. What was unpacked before stays; unpack into a folder of its own.

    Args:
        archive: the file.
        folder: made when it is missing.
        progress: called with (bytes of the archive read, bytes in all).

    Raises:
        CodecError: an archive that is missing, damaged, cut short or not to be trusted, or no room.
    """
    archive, folder = Path(archive), Path(folder)
    if not hasattr(tarfile, "data_filter"):
        raise CodecError("this Python cannot unpack archives safely; update it to 3.11.4 or later")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
            size = archive.stat().st_size
            for member in tar:
                tar.extract(member, folder, filter="data")
                if progress is not None:
                    progress(file.tell(), size)
    except tarfile.FilterError as error:
        raise CodecError(f"{archive}: not to be trusted ({error}); delete it and get it from the publisher") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CodecError(f"{archive}: damaged or not whole ({error}); delete it and download it again") from None
    except OSError as error:
        reason = error.strerror or str(error)  # gzip's own errors have no number
        raise CodecError(
            f"{archive}: cannot be unpacked into {folder} ({reason}); make room, or download it again"
        ) from None
