"""The header of a ``.svq`` file, and the sizes that follow from it."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property

from codec.errors import CodecError

SUFFIX = ".svq"
MAGIC = b"\x89SVQ"
VERSION = 1
BLOCK_FRAMES = 256  # 3.4 s at 75 tokens a second, where a block's prefix costs 1.6 % of 12-bit tokens

_FIELDS = struct.Struct("<4sBBH8sIIIQQ")  # all of the header but its CRC32
_CRC = struct.Struct("<I")
_UNKNOWN = (1 << 64) - 1
HEADER_SIZE = _FIELDS.size + _CRC.size
PREFIX_SIZE = 6  # of a block: frames, CRC32


@dataclass(frozen=True)
class Header:
    """What a reader must know before the first token. A value outside its range is a CodecError."""

    fingerprint: str  # of the model's tokens: 16 hex digits
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
        return PREFIX_SIZE + -(-frames * self.bits_per_token // 8)

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
            raise CodecError(
                f"{where}: not a {SUFFIX} file; expected one that codec encode wrote (codec decode also takes "
                "tokens as codec tokens prints them, and .npy arrays)"
            )
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
