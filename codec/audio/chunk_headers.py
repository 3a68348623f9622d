"""What the headers of uncompressed audio promise: libsndfile takes a file that was cut short for a whole one.

Wave (RIFF, RF64, Wave64), AIFF and AU are known; of other files nothing is said.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Literal, NamedTuple

# From here on a length stands for "not known": sox writes 2^31 less up to 2^24, ffmpeg the largest number there is.
_OPEN = {4: (1 << 31) - (1 << 24) - (1 << 16), 8: 1 << 62}  # by the bytes of the number
_IN_DS64 = (1 << 32) - 1  # RF64: a chunk of its own has the length


class _Chunks(NamedTuple):
    form: tuple[bytes, ...]  # which kinds of file, named behind the first length
    samples: bytes  # the first four bytes of the name of the chunk with samples
    order: Literal["big", "little"] = "little"  # of a length's bytes
    name_size: int = 4  # bytes
    length_size: int = 4  # bytes
    inclusive: bool = False  # a length counts the name and itself
    step: int = 2  # chunks start at multiples of so many bytes
    lead: int = 0  # bytes before the samples in their chunk


_CHUNKS = {
    b"RIFF": _Chunks((b"WAVE",), b"data"),
    b"RIFX": _Chunks((b"WAVE",), b"data", order="big"),
    b"RF64": _Chunks((b"WAVE",), b"data"),
    b"riff": _Chunks((b"wave",), b"data", name_size=16, length_size=8, inclusive=True, step=8),  # Wave64
    b"FORM": _Chunks((b"AIFF", b"AIFC"), b"SSND", order="big", lead=8),
}
_AU: dict[bytes, Literal["big", "little"]] = {b".snd": "big", b"dns.": "little"}


def missing_bytes(file: BinaryIO) -> int:
    """Bytes of samples that a header promises and the file lacks; 0 where it leaves the length open."""
    promised, there, length_size = _sample_bytes(file)
    return max(0, promised - there) if promised < _OPEN[length_size] else 0


def unclaimed_bytes(file: BinaryIO) -> int:
    """Bytes behind a header that promises no sample at all, as recorders leave it that were cut off."""
    promised, there, _ = _sample_bytes(file)
    return there if promised == 0 else 0


def _sample_bytes(file: BinaryIO) -> tuple[int, int, int]:
    """What a header promises, what follows it, and the bytes of the number; nothing for a kind that is not known."""
    unknown = 0, 0, 4
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(4)
    if order := _AU.get(magic):
        start, promised = (int.from_bytes(file.read(4), order) for _ in range(2))
        return promised, max(0, size - start), 4
    kind = _CHUNKS.get(magic)
    if kind is None:
        return unknown
    header_size = kind.name_size + kind.length_size
    file.seek(header_size)
    if file.read(4) not in kind.form:
        return unknown
    place, in_ds64 = header_size + kind.name_size, None
    while place + header_size <= size:
        file.seek(place)
        name, length = file.read(kind.name_size)[:4], int.from_bytes(file.read(kind.length_size), kind.order)
        place += header_size
        if kind.inclusive:
            length = max(0, length - header_size)
        if name == kind.samples:
            if length == _IN_DS64 and in_ds64 is not None:
                return in_ds64, size - place, 8
            return max(0, length - kind.lead), max(0, size - place - kind.lead), kind.length_size
        if name == b"ds64":
            in_ds64 = int.from_bytes(file.read(16)[8:], kind.order)  # behind the length of the whole file
        place += length + -length % kind.step
    return unknown
