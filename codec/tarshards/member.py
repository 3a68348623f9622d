"""One recording within a tar file, read in place."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
from torch import Tensor

from codec.audio.blocks import reason_of
from codec.audio.files import read_segment
from codec.errors import CodecError

MAX_OPEN = 64  # files


@dataclass(frozen=True)
class Member:
    """Where a recording lies, and how long it is."""

    path: Path | str  # of the tar file, or its address
    offset: int  # bytes, of the recording's first
    size: int  # bytes
    num_samples: int
    sample_rate: int  # Hz

    def __str__(self) -> str:
        return f"{self.path} (recording at byte {self.offset})"


class OpenTars:
    """Reads segments of members; keeps the tar files open that were used last.

    Reading names the place in the file, so a process that is forked off may share the open files.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[Path, int] = OrderedDict()

    def read(self, member: Member, start: int, num_samples: int) -> tuple[Tensor, int]:
        """As :func:`codec.audio.read`: samples (C, T) and the rate in Hz.

        Raises:
            CodecError: a tar file that is gone or too short, or a member that is no audio.
        """
        with self._opened(member) as file:
            return read_segment(file, str(member), start, num_samples), file.samplerate

    def info(self, member: Member) -> tuple[int, int]:
        """Samples and rate in Hz, as the recording's own header says.

        Raises:
            CodecError: as :meth:`read`.
        """
        with self._opened(member) as file:
            return file.frames, file.samplerate

    @contextmanager
    def _opened(self, member: Member) -> Iterator[soundfile.SoundFile]:
        window = _Window(self._descriptor(Path(member.path)), member.offset, member.size)
        try:
            with soundfile.SoundFile(window) as file:
                yield file
        except soundfile.LibsndfileError as error:
            raise CodecError(
                f"{member}: not audio that can be read ({reason_of(error)}); the shard is damaged, get it again"
            ) from None
        except OSError as error:
            raise CodecError(f"{member}: cannot be read ({error.strerror}); get the shard again") from None

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __getstate__(self) -> dict[str, object]:
        return {"_files": OrderedDict()}  # another process opens its own

    def _descriptor(self, path: Path) -> int:
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        try:
            self._files[path] = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise CodecError(f"{path}: the shard cannot be read ({error.strerror}); get it again") from None
        if len(self._files) > MAX_OPEN:
            os.close(self._files.popitem(last=False)[1])
        return self._files[path]


class _Window(io.RawIOBase):
    """A stretch of an open file as a file of its own."""

    def __init__(self, descriptor: int, first: int, size: int) -> None:
        self._descriptor, self._first, self._size = descriptor, first, size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._place))
        data = os.pread(self._descriptor, wanted, self._first + self._place)
        view[: len(data)] = data
        self._place += len(data)
        return len(data)
