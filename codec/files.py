"""Writing so that nothing is ever half-written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codec.errors import CodecError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well, remove it otherwise.

    The temporary name keeps the suffix, because writers choose the format by it.

    Raises:
        CodecError: the folder cannot be made or written to, or ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise CodecError(f"{path}: is a folder; give the name of a file to write")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise CodecError(f"{path}: cannot write there ({error.strerror}); choose a writable folder") from None
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise CodecError(f"{path}: writing failed ({error.strerror}); nothing was written") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file at once or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
