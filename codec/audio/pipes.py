"""Audio that comes through a pipe, of which nothing can be read twice."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from threading import Thread
from typing import BinaryIO

from codec.errors import CodecError

# How what libsndfile reads from start to end begins: wave, AIFF, Ogg, AU. Of the rest it wants to see the end first.
STREAMED = (b"RIFF", b"RIFX", b"FORM", b"OggS", b".snd")
_BLOCK = 1 << 16  # bytes, what a pipe holds


@contextmanager
def readable(descriptor: int, name: str) -> Iterator[int | BinaryIO]:
    """What libsndfile can read in the place of a pipe.

    Args:
        descriptor: of the pipe, nothing of which has been read.
        name: what errors call it.

    Yields:
        For formats that are read from start to end the descriptor of another pipe, with the same in it as it comes; for
        all others a file with all of it, in the system's folder for temporary ones.

    Raises:
        CodecError: the pipe fails, which may be known at the end only, or there is no room to keep what it brings.
    """
    blocks = _blocks(descriptor, name)
    head = next(blocks, b"")
    while 0 < len(head) < len(STREAMED[0]) and (more := next(blocks, b"")):
        head += more
    through = _passed_on if head.startswith(STREAMED) else _kept
    with through(chain([head], blocks), name) as source:
        yield source


def _blocks(descriptor: int, name: str) -> Iterator[bytes]:
    """All there is, without sys.stdin's buffer, whose lock a thread must not hold when the interpreter ends."""
    try:
        while block := os.read(descriptor, _BLOCK):
            yield block
    except OSError as error:
        raise CodecError(f"{name}: cannot be read any more ({error.strerror}); send it again") from None


@contextmanager
def _passed_on(blocks: Iterator[bytes], name: str) -> Iterator[int]:
    out, into = os.pipe()
    failures: list[CodecError] = []

    def work() -> None:
        # The reader has what it wanted where the pipe is broken.
        with suppress(BrokenPipeError), os.fdopen(into, "wb", buffering=0) as pipe:
            try:
                for block in blocks:
                    _write(pipe, block)
            except CodecError as error:
                failures.append(error)  # before the pipe's end, which looks like that of the recording

    Thread(target=work, name=f"passes on {name}", daemon=True).start()
    try:
        yield out
    finally:
        os.close(out)  # which ends the thread, at the latest when more comes
    if failures:
        raise failures[0]


@contextmanager
def _kept(blocks: Iterator[bytes], name: str) -> Iterator[BinaryIO]:
    what = f"{name}: this format must be kept in a file to be read"
    try:
        # Without a buffer, as what it holds would be written, and fail, once more at the end.
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise CodecError(f"{what}, for which there is no folder ({error}); set TMPDIR, or name the file") from None
    with file:
        for block in blocks:
            try:
                _write(file, block)
            except OSError as error:
                place = tempfile.gettempdir()
                raise CodecError(
                    f"{what}, for which {place} has no room ({error.strerror}); make room, set TMPDIR, or name the file"
                ) from None
        file.seek(0)
        yield file


def _write(file: BinaryIO, block: bytes) -> None:
    """All of it into an unbuffered file."""
    while block:
        block = block[file.write(block) :]
