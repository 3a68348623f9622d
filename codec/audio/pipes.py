"""Audio that comes through a pipe, of which nothing can be read twice."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        CodecError: the folder has no room for it.
    """
    head = os.read(descriptor, _BLOCK)
    while 0 < len(head) < len(STREAMED[0]) and (more := os.read(descriptor, _BLOCK)):
        head += more
    if head.startswith(STREAMED):
        out, into = os.pipe()
        Thread(target=_pass_on, args=(head, descriptor, into), daemon=True).start()
        try:
            yield out
        finally:
            os.close(out)  # which ends the thread, at the latest when more comes
        return
    with _kept(head, descriptor, name) as file:
        yield file


def _blocks(head: bytes, descriptor: int) -> Iterator[bytes]:
    while head:
        yield head
        # Without sys.stdin's buffer, whose lock a thread must not hold when the interpreter ends.
        head = os.read(descriptor, _BLOCK)


def _pass_on(head: bytes, descriptor: int, into: int) -> None:
    # The reader has what it wanted where the pipe is broken.
    with suppress(BrokenPipeError), open(into, "wb", buffering=0) as pipe:
        for block in _blocks(head, descriptor):
            while block:
                block = block[pipe.write(block) :]


@contextmanager
def _kept(head: bytes, descriptor: int, name: str) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        try:
            for block in _blocks(head, descriptor):
                file.write(block)
            file.flush()
        except OSError as error:
            raise CodecError(
                f"{name}: cannot be kept in {tempfile.gettempdir()} ({error.strerror}), as this format must be; make "
                "room, set TMPDIR, or name the file"
            ) from None
        file.seek(0)
        yield file
