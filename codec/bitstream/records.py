"""What follows the header of a ``.svq`` file: blocks of packed tokens, and the end record."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from codec.bitstream.header import PREFIX_SIZE, Header

_PREFIX = struct.Struct("<HI")  # of a block: frames, CRC32
_COUNTS = struct.Struct("<QQ")  # of the end record: samples, frames
_PLACE = struct.Struct("<IQH")  # what a block's CRC32 covers before its payload: header's CRC32, block's index, frames
END_SIZE = PREFIX_SIZE + _COUNTS.size


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


def frames_said(data: bytes) -> int:
    """Frames that a record's prefix claims; 0: an end record."""
    return int.from_bytes(data[:2], "little")


def parse_block(header: Header, index: int, data: bytes, frames: int) -> np.ndarray | None:
    """Tokens (F,) int64 of block number ``index`` at the start of ``data``; None unless whole and of F frames."""
    size = header.block_size(frames)
    if len(data) < size:
        return None
    said, crc = _PREFIX.unpack_from(data)
    payload = data[PREFIX_SIZE:size]
    if said != frames or crc != _checksum(header, index, said, payload):
        return None
    tokens = unpack_tokens(payload, said, header.bits_per_token)
    return tokens if tokens.max() < header.codebook_size else None


def parse_end(header: Header, data: bytes) -> int | None:
    """Number of samples that the end record at the start of ``data`` tells; None if there is no whole one."""
    if len(data) < END_SIZE:
        return None
    zero, crc = _PREFIX.unpack_from(data)
    payload = data[PREFIX_SIZE:END_SIZE]
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
