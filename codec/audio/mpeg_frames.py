"""Frames of an MP3 file: how many samples there are, whatever its header counts or leaves to be estimated."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import BinaryIO, NamedTuple

_LAYER_3 = 1
_KBIT_S = {  # by the version's number, 3 for MPEG-1
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBIT_S[0] = _KBIT_S[2]
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}
_TAG = 10  # bytes of an ID3v2 tag's header
_COUNTING = (b"Xing", b"Info", b"VBRI")  # in the first frame, which then has no sound
_COUNTING_WITHIN = 48  # bytes of that frame
_BLOCK = 1 << 16  # bytes


class MpegFrames(NamedTuple):
    """What was found in a file."""

    num_samples: int  # before an encoder's padding is trimmed
    counted: bool  # a header in the first frame counts; else decoders estimate from the size of the file


def examine(file: BinaryIO) -> MpegFrames:
    """Walk over all frames of a layer III stream; what lies between them (tags) is passed over."""
    size = file.seek(0, os.SEEK_END)
    place, kind, num_samples, counted = 0, b"", 0, False
    while place + 4 <= size:
        file.seek(place)
        header = file.read(_TAG)
        frame_size, samples = _frame(header[:4])
        if header[:3] == b"ID3" and len(header) == _TAG:
            place += _tag_size(header)
        elif not frame_size or not header.startswith(kind):
            place = _next_frame(file, place + 1, kind)
        else:
            if not kind:
                kind = header[:2]
                start = header + file.read(_COUNTING_WITHIN)
                counted = any(name in start for name in _COUNTING)
                samples = 0 if counted else samples
            place += frame_size
            num_samples += samples if place <= size else 0  # no decoder gives part of a frame
    return MpegFrames(num_samples, counted)


@lru_cache(1024)
def _frame(header: bytes) -> tuple[int, int]:
    """Bytes and samples of the frame that four bytes begin; (0, 0) if they begin none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] >> 5 != 0b111:
        return 0, 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _RATES or layer != _LAYER_3 or bitrate in (0, 15) or rate == 3:
        return 0, 0
    samples = 1152 if version == 3 else 576
    return samples // 8 * 1000 * _KBIT_S[version][bitrate] // _RATES[version][rate] + padding, samples


def _tag_size(header: bytes) -> int:
    """Bytes of an ID3v2 tag, with its header and footer."""
    content = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(header[6:])))
    return _TAG * (2 if header[5] & 0x10 else 1) + content


def _next_frame(file: BinaryIO, place: int, kind: bytes) -> int:
    """Where the next frame or tag of a damaged or tagged stream begins: a header behind which comes another."""
    while True:
        file.seek(place)
        block = file.read(_BLOCK)
        if len(block) < _TAG:
            return place + _TAG
        found = [block.find(kind or b"\xff"), block.find(b"ID3")]
        at = min((offset for offset in found if offset >= 0), default=len(block) - 2)
        place += at
        if block[at : at + 3] == b"ID3":
            return place
        file.seek(place)
        size, _ = _frame(file.read(4))
        file.seek(place + size)
        following = file.read(4)
        if size and (len(following) < 4 or following[:3] in (b"ID3", b"TAG") or _frame(following)[0]):
            return place
        place += 1
