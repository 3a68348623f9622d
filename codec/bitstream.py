"""The ``.svq`` container: tokens of one recording, bit-packed. ``docs/format.md`` is the specification.

A header, blocks of tokens, an end record; little-endian throughout::

    header   48 bytes                 magic, version, flags, model fingerprint, rates, sizes, counts, CRC32
    block    6 bytes + packed tokens  number of frames, CRC32, tokens; every block but the last is full
    end      22 bytes                 a block of 0 frames that carries the counts

Full blocks have one size, so that a damaged one does not hide the next and any frame can be reached by arithmetic. The
counts in the header may be unknown: then the file can be written to a pipe, and the end record has them.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from codec.errors import CodecError
from codec.files import replacing

SUFFIX = ".svq"
MAGIC = b"\x89SVQ"
VERSION = 1
BLOCK_FRAMES = 256  # 3.4 s at 75 tokens a second, where a block's prefix costs 1.6 % of 12-bit tokens

_FIELDS = struct.Struct("<4sBBH8sIIIQQ")  # all of the header but its CRC32
_CRC = struct.Struct("<I")
_PREFIX = struct.Struct("<HI")  # of a block: frames, CRC32
_COUNTS = struct.Struct("<QQ")  # of the end record: samples, frames
_PLACE = struct.Struct("<IQH")  # what a block's CRC32 covers before its payload: header's CRC32, block's index, frames
_UNKNOWN = (1 << 64) - 1
HEADER_SIZE = _FIELDS.size + _CRC.size
END_SIZE = _PREFIX.size + _COUNTS.size


@dataclass(frozen=True)
class Header:
    """What a reader must know before the first token. A value outside its range is a CodecError."""

    fingerprint: str  # of the model: 16 hex digits
    sample_rate: int  # Hz
    hop_length: int  # samples a frame
    codebook_size: int  # K
    num_samples: int | None  # at sample_rate; None: not known when the header was written
    block_frames: int = BLOCK_FRAMES

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{16}", self.fingerprint):
            raise CodecError(f"fingerprint={self.fingerprint!r}: expected 16 hex digits")
        for name, value, most in (
            ("sample_rate", self.sample_rate, (1 << 32) - 1),
            ("hop_length", self.hop_length, (1 << 32) - 1),
            ("codebook_size", self.codebook_size, 1 << 31),
            ("block_frames", self.block_frames, (1 << 16) - 1),
        ):
            if not 1 <= value <= most:
                raise CodecError(f"{name}={value}: expected 1 to {most}")
        if self.num_samples is not None and not 0 <= self.num_samples < _UNKNOWN:
            raise CodecError(f"num_samples={self.num_samples}: expected 0 or more, or None for unknown")

    @property
    def num_frames(self) -> int | None:
        """Tokens of the recording; None: not known when the header was written."""
        return None if self.num_samples is None else self.frames_of(self.num_samples)

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        return self.sample_rate / self.hop_length

    @property
    def bits_per_token(self) -> int:
        """ceil(log2 K), but 1 where K is 1: no token is free, so that a file's size bounds its tokens."""
        return max(1, (self.codebook_size - 1).bit_length())

    def frames_of(self, num_samples: int) -> int:
        """ceil(samples / hop)."""
        return -(-num_samples // self.hop_length)

    def blocks_of(self, frames: int) -> int:
        """Blocks that hold ``frames`` tokens."""
        return -(-frames // self.block_frames)

    def block_size(self, frames: int) -> int:
        """Bytes of a block of ``frames`` tokens."""
        return _PREFIX.size + -(-frames * self.bits_per_token // 8)

    @cached_property
    def _fields(self) -> bytes:
        return _FIELDS.pack(
            MAGIC,
            VERSION,
            0,  # flags
            self.block_frames,
            bytes.fromhex(self.fingerprint),
            self.sample_rate,
            self.hop_length,
            self.codebook_size,
            _UNKNOWN if self.num_samples is None else self.num_samples,
            _UNKNOWN if self.num_frames is None else self.num_frames,
        )

    @cached_property
    def crc(self) -> int:
        """CRC32 of the header."""
        return zlib.crc32(self._fields)

    def pack(self) -> bytes:
        """The header's bytes."""
        return self._fields + _CRC.pack(self.crc)

    @classmethod
    def unpack(cls, data: bytes, where: str = "header") -> Header:
        """Read the header's bytes.

        Raises:
            CodecError: not a .svq file, a newer version, or damage; the message starts with ``where``.
        """
        if data[: len(MAGIC)] != MAGIC:
            raise CodecError(f"{where}: not a {SUFFIX} file; expected one that codec encode wrote")
        if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
            raise CodecError(
                f"{where}: {SUFFIX} version {data[len(MAGIC)]}, but this reader knows version {VERSION}; "
                "update this software (if the file is not newer, it is damaged)"
            )
        if len(data) < HEADER_SIZE:
            raise CodecError(f"{where}: ends inside the header ({len(data)} of {HEADER_SIZE} bytes); get it again")
        fields = data[: _FIELDS.size]
        if _CRC.unpack_from(data, _FIELDS.size) != (zlib.crc32(fields),):
            raise CodecError(f"{where}: the header is damaged (its CRC32 differs), no token can be read; get it again")
        _, _, flags, block_frames, fingerprint, rate, hop, codebook_size, samples, frames = _FIELDS.unpack(fields)
        if flags:
            raise CodecError(f"{where}: needs a feature that this reader lacks (flags {flags:#04x}); update it")
        try:
            num_samples = None if samples == _UNKNOWN else samples
            header = cls(fingerprint.hex(), rate, hop, codebook_size, num_samples, block_frames)
        except CodecError as error:
            raise CodecError(f"{where}: invalid header ({error})") from None
        if fields != header._fields:  # the only field that is not taken as it stands
            raise CodecError(f"{where}: invalid header ({frames} frames do not fit {samples} samples)")
        return header


@dataclass(frozen=True)
class TokenFile:
    """What could be read of a file."""

    header: Header
    tokens: np.ndarray  # (F,) int64; -1 where a block is damaged
    num_samples: int | None  # of the whole recording; None: neither header nor end record tells
    lost: tuple[range, ...]  # frames of damaged blocks
    complete: bool  # nothing is missing after ``tokens``

    @property
    def is_whole(self) -> bool:
        """Whether every token and the end record were read."""
        return self.complete and not self.lost

    def whole_spans(self) -> list[range]:
        """Frames that were read, in runs without a gap."""
        edges = [0, *(edge for gap in self.lost for edge in (gap.start, gap.stop)), len(self.tokens)]
        spans = (range(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True))
        return [span for span in spans if span]

    def damage(self) -> str:
        """One line that names the lost frames; empty for a whole file."""
        rate = self.header.frame_rate
        parts = [
            f"frames {gap.start} to {gap.stop - 1} ({gap.start / rate:.2f} s to {gap.stop / rate:.2f} s) are damaged"
            for gap in self.lost
        ]
        if not self.complete:
            F = len(self.tokens)
            total = None if self.num_samples is None else self.header.frames_of(self.num_samples)
            if total == F:
                parts.append(f"its end record is missing or damaged after frame {F}, the last one")
            else:
                of = "an unknown number" if total is None else f"{total}"
                parts.append(f"it ends early, after {F} frames ({F / rate:.2f} s) of {of}")
        return "; ".join(parts)


def pack_tokens(tokens: np.ndarray, bits: int) -> bytes:
    """Tokens (F,) -> ceil(F * bits / 8) bytes, most significant bit first, zero bits at the end."""
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits(((tokens[:, None] >> shifts) & 1).astype(np.uint8)).tobytes()


def unpack_tokens(data: bytes, frames: int, bits: int) -> np.ndarray:
    """The reverse of :func:`pack_tokens`: (F,) int64."""
    flat = np.unpackbits(np.frombuffer(data, np.uint8), count=frames * bits)
    weights = np.left_shift(1, np.arange(bits - 1, -1, -1, dtype=np.int64))
    return flat.reshape(frames, bits) @ weights


def pack_block(header: Header, index: int, tokens: np.ndarray) -> bytes:
    """Bytes of block number ``index``: (F,) tokens, F from 1 to ``block_frames``."""
    return _pack_record(header, index, len(tokens), pack_tokens(tokens, header.bits_per_token))


def pack_end(header: Header, num_samples: int) -> bytes:
    """Bytes of the end record of a recording of ``num_samples``."""
    frames = header.frames_of(num_samples)
    return _pack_record(header, header.blocks_of(frames), 0, _COUNTS.pack(num_samples, frames))


def write_tokens(target: str | Path | BinaryIO, header: Header, tokens: np.ndarray) -> int:
    """Write a recording; a path is written at once or not at all.

    Args:
        target: a path, or a binary file open for writing.
        header: with the number of samples.
        tokens: (F,) integers in [0, K), F = ceil(samples / hop).

    Returns:
        Bytes written.

    Raises:
        CodecError: tokens that do not fit the header, or a place that cannot be written.
    """
    num_samples = header.num_samples
    if num_samples is None or tokens.shape != (header.num_frames,):
        raise CodecError(f"tokens of shape {tokens.shape} for {num_samples} samples: expected ({header.num_frames},)")
    if tokens.dtype.kind not in "iu" or (tokens.size and not 0 <= tokens.min() <= tokens.max() < header.codebook_size):
        raise CodecError(f"tokens of type {tokens.dtype}: expected integers from 0 to {header.codebook_size - 1}")
    step = header.block_frames
    blocks = [pack_block(header, i, tokens[i * step : (i + 1) * step]) for i in range(header.blocks_of(len(tokens)))]
    data = b"".join((header.pack(), *blocks, pack_end(header, num_samples)))
    if isinstance(target, (str, Path)):
        with replacing(target) as temporary:
            temporary.write_bytes(data)
    else:
        target.write(data)
    return len(data)


def read_tokens(source: str | Path | BinaryIO) -> TokenFile:
    """Read a recording as far as it is whole.

    Damage after the header is no error: :attr:`TokenFile.is_whole` and :meth:`TokenFile.damage` tell of it.

    Args:
        source: a path, or a binary file open for reading. What follows the end record is not looked at.

    Raises:
        CodecError: no such file, not a .svq file, a newer version, or a damaged header.
    """
    if not isinstance(source, (str, Path)):
        return _read(source, "input")
    try:
        with Path(source).open("rb") as file:
            return _read(file, str(source))
    except IsADirectoryError:
        raise CodecError(f"{source}: is a folder; give a {SUFFIX} file") from None
    except OSError as error:
        raise CodecError(f"{source}: cannot be read ({error.strerror}); give an existing {SUFFIX} file") from None


def _read(file: BinaryIO, where: str) -> TokenFile:
    start = file.read(HEADER_SIZE)
    if not start:
        raise CodecError(f"{where}: is empty (0 bytes); expected a {SUFFIX} file")
    header = Header.unpack(start, where)  # before the rest: a large file that is no .svq is not read
    return _read_body(header, file.read())


def _read_body(header: Header, body: bytes) -> TokenFile:
    """Walk over the blocks. Without counts a damaged block is taken for a full one, as all but the last are."""
    step = header.block_frames
    num_samples = header.num_samples
    if num_samples is None:
        num_samples = _end_at(header, body, len(body) - END_SIZE)
    blocks: list[np.ndarray] = []
    lost: list[range] = []
    position = frame = 0
    while True:
        told = _end_at(header, body, position)
        if told is not None and header.frames_of(told) == frame and num_samples in (None, told):
            return TokenFile(header, _join(blocks), told, tuple(lost), complete=True)
        if num_samples is not None:
            count = min(step, header.frames_of(num_samples) - frame)
            block = _block_at(header, len(blocks), body, position, count)
        elif blocks and len(blocks[-1]) < step:
            count, block = 0, None
        else:
            block = _block_at(header, len(blocks), body, position, None)
            count = step if block is None else len(block)
        if count == 0 or position + header.block_size(count) > len(body):
            break
        if block is None:
            block = np.full(count, -1, np.int64)
            joins = bool(lost) and lost[-1].stop == frame
            lost.append(range(lost.pop().start if joins else frame, frame + count))
        blocks.append(block)
        position += header.block_size(count)
        frame += count
    tokens = _join(blocks)
    if num_samples is None and lost and lost[-1].stop == frame:
        # What looks like damaged blocks at an unknown end may be none: the last token that is sure is before them.
        tokens = tokens[: lost.pop().start]
    return TokenFile(header, tokens, num_samples, tuple(lost), complete=False)


def _block_at(header: Header, index: int, body: bytes, position: int, frames: int | None) -> np.ndarray | None:
    """Tokens (F,) of the block at ``position``, or None. ``frames`` is what it must hold; None: what it says."""
    if position + _PREFIX.size > len(body):
        return None
    said, crc = _PREFIX.unpack_from(body, position)
    if not 1 <= said <= header.block_frames or frames not in (None, said):
        return None
    payload = body[position + _PREFIX.size : position + header.block_size(said)]
    if len(payload) < header.block_size(said) - _PREFIX.size or crc != _checksum(header, index, said, payload):
        return None
    tokens = unpack_tokens(payload, said, header.bits_per_token)
    return tokens if tokens.max() < header.codebook_size else None


def _end_at(header: Header, body: bytes, position: int) -> int | None:
    """Number of samples that the end record at ``position`` tells, or None where there is no such record."""
    if position < 0 or position + END_SIZE > len(body):
        return None
    zero, crc = _PREFIX.unpack_from(body, position)
    payload = body[position + _PREFIX.size : position + END_SIZE]
    num_samples, frames = _COUNTS.unpack(payload)
    if zero or frames != header.frames_of(num_samples):
        return None
    return num_samples if crc == _checksum(header, header.blocks_of(frames), 0, payload) else None


def _pack_record(header: Header, index: int, frames: int, payload: bytes) -> bytes:
    return _PREFIX.pack(frames, _checksum(header, index, frames, payload)) + payload


def _checksum(header: Header, index: int, frames: int, payload: bytes) -> int:
    """CRC32 of a record in its place: one moved within a file, or taken from another file, does not fit."""
    place = _PLACE.pack(header.crc, index, frames)
    return zlib.crc32(payload, zlib.crc32(place))


def _join(blocks: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *blocks])
