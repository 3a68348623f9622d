"""Reading a ``.svq`` file, block by block or whole, as far as it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from codec.bitstream.header import HEADER_SIZE, PREFIX_SIZE, SUFFIX, Header
from codec.bitstream.records import END_SIZE, frames_said, parse_block, parse_end
from codec.errors import CodecError


@dataclass(frozen=True)
class Condition:
    """What was found of a recording."""

    header: Header
    num_frames: int  # tokens that were given out, those of damaged blocks included
    num_samples: int | None  # of the whole recording; None: neither header nor end record tells
    lost: tuple[range, ...]  # frames of damaged blocks
    complete: bool  # nothing is missing after the last token
    num_bytes: int  # that were read
    num_behind: int  # bytes behind the end record, where that could be looked at

    @property
    def is_whole(self) -> bool:
        """Whether every token and the end record were read."""
        return self.complete and not self.lost

    def rest(self) -> str:
        """One line on what is behind the recording; empty where there is nothing."""
        if not self.num_behind:
            return ""
        return f"{self.num_behind} bytes behind its end are not read; it may be several files one behind the other"

    def damage(self) -> str:
        """One line that names the lost frames; empty for a whole file."""
        rate = self.header.frame_rate
        parts = [
            f"frames {gap.start} to {gap.stop - 1} ({gap.start / rate:.2f} s to {gap.stop / rate:.2f} s) are damaged"
            for gap in self.lost
        ]
        if not self.complete:
            F = self.num_frames
            total = None if self.num_samples is None else self.header.frames_of(self.num_samples)
            if total == F:
                parts.append(f"its end record is missing or damaged after frame {F}, the last one")
            else:
                of = "an unknown number" if total is None else f"{total}"
                parts.append(f"it ends early, after {F} frames ({F / rate:.2f} s) of {of}")
        return "; ".join(parts)


@dataclass(frozen=True)
class TokenFile(Condition):
    """What could be read of a file."""

    tokens: np.ndarray  # (F,) int64; -1 where a block is damaged

    def whole_spans(self) -> list[range]:
        """Frames that were read, in runs without a gap."""
        edges = [0, *(edge for gap in self.lost for edge in (gap.start, gap.stop)), len(self.tokens)]
        spans = (range(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True))
        return [span for span in spans if span]


class TokenReader:
    """Gives out a recording block by block, in the memory of one block.

    Iterating yields the tokens (n,) int64 of one block after the other, -1 where one is damaged; :attr:`condition`
    tells at any time what was found so far. From a pipe each block comes as soon as its bytes do.
    """

    def __init__(self, file: BinaryIO, name: str = "input") -> None:
        """Read the header. ``file`` is open for reading, and left behind the end record.

        Raises:
            CodecError: not a .svq file, a newer version, or a damaged header; messages start with ``name``.
        """
        self._file, self.name = file, name
        self._data = b""  # read, but not used yet
        self.num_bytes = 0  # read so far
        self._fill(HEADER_SIZE)
        if not self._data:
            raise CodecError(f"{name}: is empty (0 bytes); expected a {SUFFIX} file")
        self.header = Header.unpack(self._data, name)
        self._data = b""
        self._num_samples = self.header.num_samples
        if self._num_samples is None and file.seekable():
            self._num_samples = self._peek_end()
        self._frames = 0
        self._lost: list[range] = []
        self._complete = False
        self._behind = 0

    @property
    def num_samples(self) -> int | None:
        """Of the whole recording, at the codec's rate; from a pipe it may be known at its end only, or never (None)."""
        return self._num_samples

    @property
    def condition(self) -> Condition:
        """What was found up to here."""
        return Condition(
            self.header,
            self._frames,
            self._num_samples,
            tuple(self._lost),
            self._complete,
            self.num_bytes,
            self._behind,
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        """Walk over the blocks, once. Without counts a damaged block is taken for a full one, as all but the last are.

        Raises:
            CodecError: the file cannot be read.
        """
        header, step = self.header, self.header.block_frames
        index = skipped = 0  # blocks so far; frames of the damaged ones just before this place
        ended = False  # by a block that is not full
        while True:
            self._fill(PREFIX_SIZE)
            said = frames_said(self._data)
            if said == 0:
                self._fill(END_SIZE)
                told = parse_end(header, self._data)
                fits = told is not None and header.frames_of(told) == self._frames + skipped
                if fits and self._num_samples in (None, told):
                    self._num_samples, self._complete = told, True
                    self._behind = self._count_behind() if self._file.seekable() else 0
                    break
            if self._num_samples is not None:
                count = min(step, header.frames_of(self._num_samples) - self._frames - skipped)
            else:
                count = 0 if ended else said if 1 <= said <= step else step
            if count == 0:
                break
            self._fill(header.block_size(count))
            block = parse_block(header, index, self._data, count)
            if block is None and self._num_samples is None:
                count = step
                self._fill(header.block_size(count))
            if len(self._data) < header.block_size(count):
                break
            self._data = self._data[header.block_size(count) :]
            index += 1
            if block is None:
                skipped += count
            else:
                yield from self._gap(skipped)
                skipped = 0
                self._frames += count
                ended = count < step
                yield block
        if self._num_samples is not None:
            yield from self._gap(skipped)
        # Else: what looks like damaged blocks at an unknown end may be none, the last sure token is before them.

    def _gap(self, frames: int) -> Iterator[np.ndarray]:
        """Damaged blocks, in a row."""
        if frames:
            self._lost.append(range(self._frames, self._frames + frames))
        for start in range(0, frames, self.header.block_frames):
            count = min(self.header.block_frames, frames - start)
            self._frames += count
            yield np.full(count, -1, np.int64)

    def _fill(self, size: int) -> None:
        """Have ``size`` bytes at hand, or all that are left."""
        try:
            while len(self._data) < size and (more := self._file.read(size - len(self._data))):
                self._data += more
                self.num_bytes += len(more)
        except OSError as error:
            raise CodecError(f"{self.name}: cannot be read ({error.strerror}); try again, or copy the file") from None

    def _count_behind(self) -> int:
        here = self._file.tell()
        end = self._file.seek(0, 2)
        self._file.seek(here)
        return end - here

    def _peek_end(self) -> int | None:
        """Samples that the last bytes of a file tell, if they are an end record."""
        here = self._file.tell()
        last = self._file.seek(0, 2) - END_SIZE
        self._file.seek(max(here, last))
        told = parse_end(self.header, self._file.read(END_SIZE))
        self._file.seek(here)
        return told


@contextmanager
def reading_tokens(path: str | Path) -> Iterator[TokenReader]:
    """Open a file, to be read block by block.

    Raises:
        CodecError: no such file, not a .svq file, a newer version, or a damaged header.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below; only opening may fail here
    except IsADirectoryError:
        raise CodecError(f"{path}: is a folder; give a {SUFFIX} file") from None
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); give an existing {SUFFIX} file") from None
    with file:
        yield TokenReader(file, str(path))


def read_tokens(source: str | Path | BinaryIO, name: str = "input") -> TokenFile:
    """Read a recording as far as it is whole.

    Damage after the header is no error: :attr:`Condition.is_whole` and :meth:`Condition.damage` tell of it.

    Args:
        source: a path, or a binary file open for reading, which is left behind the end record.
        name: of an open file, in messages.

    Raises:
        CodecError: no such file, not a .svq file, a newer version, or a damaged header.
    """
    if not isinstance(source, (str, Path)):
        return _read_all(TokenReader(source, name))
    with reading_tokens(source) as reader:
        return _read_all(reader)


def _read_all(reader: TokenReader) -> TokenFile:
    tokens = np.concatenate([np.zeros(0, np.int64), *reader])
    return TokenFile(**vars(reader.condition), tokens=tokens)
