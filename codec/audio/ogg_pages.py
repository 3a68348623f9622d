"""Pages of an Ogg file: whether all are there, as they were written.

libsndfile passes over a page that is damaged or missing, and gives what follows as if it came next.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"OggS"

# Magic, version, flags, position, number of the stream, number of the page in it, checksum, segments.
_HEADER = struct.Struct("<4sBBqIIIB")
_CHECKSUM = slice(22, 26)
_FIRST, _LAST = 2, 4  # flags
_BLOCK = 1 << 20  # bytes
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class OggPages:
    """What was found of the streams that a file begins with."""

    damage: str = ""  # where and what; empty for none
    complete: bool = True  # their last pages are there
    followed: bool = False  # by streams that begin later, which libsndfile does not read


def examine(file: BinaryIO) -> OggPages:
    """Read an Ogg file's pages from the start, in the memory of one page."""
    file.seek(0)
    place, begun = 0, False  # begun: a page with data was seen, and no stream may begin any more
    pages: dict[int, int] = {}  # of each stream that has not ended: how many were seen
    while page := _read_page(file):
        header = page[: _HEADER.size]
        if header[:4] != MAGIC[: len(header)]:
            return OggPages(f"no page where one was expected, at byte {place}")
        if len(page) < _promised(page):
            # The length is damaged if there are more pages; else the file ends within this one.
            more = page.find(MAGIC, 4) >= 0
            return OggPages(_bad_checksum(place)) if more else OggPages(complete=False)
        if not _has_its_checksum(page):
            return OggPages(_bad_checksum(place))
        _, _, flags, _, stream, number, _, _ = _HEADER.unpack(header)
        if flags & _FIRST:
            if begun:
                return OggPages(complete=False, followed=True)
            pages[stream] = number
        elif pages.get(stream) != number:
            return OggPages(f"a page is missing before byte {place}")
        begun = begun or not flags & _FIRST
        pages[stream] += 1
        place += len(page)
        if flags & _LAST:
            del pages[stream]
            if not pages:
                return OggPages(followed=_contains(file, MAGIC))
    return OggPages(complete=False)


def _read_page(file: BinaryIO) -> bytes:
    """The next page; less where the file ends first."""
    header = file.read(_HEADER.size)
    if header[:4] != MAGIC or len(header) < _HEADER.size:
        return header
    page = header + file.read(header[-1])
    return page + file.read(max(0, _promised(page) - len(page)))


def _promised(page: bytes) -> int:
    """Bytes of a page by its header, as far as that is there."""
    segments = page[_HEADER.size - 1] if len(page) >= _HEADER.size else 0
    return _HEADER.size + segments + sum(page[_HEADER.size : _HEADER.size + segments])


def _has_its_checksum(page: bytes) -> bool:
    # Ogg's CRC-32 is zlib's with the bits of every byte, and of the result, the other way round; it starts at zero and
    # is not inverted in the end.
    zeroed = page[: _CHECKSUM.start] + bytes(4) + page[_CHECKSUM.stop :]
    found = zlib.crc32(zeroed.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return found.to_bytes(4, "big") == page[_CHECKSUM].translate(_REVERSED)


def _bad_checksum(place: int) -> str:
    return f"the page at byte {place} fails its checksum"


def _contains(file: BinaryIO, wanted: bytes) -> bool:
    """Whether the rest of a file has these bytes."""
    tail = b""
    while block := file.read(_BLOCK):
        if wanted in tail + block:
            return True
        tail = block[1 - len(wanted) :]
    return False
