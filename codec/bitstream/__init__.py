"""The ``.svq`` container: tokens of one recording, bit-packed. ``docs/format.md`` is the specification.

A header, blocks of tokens, an end record; little-endian throughout::

    header   48 bytes                 magic, version, flags, fingerprint of the tokens, rates, sizes, counts, CRC32
    block    6 bytes + packed tokens  number of frames, CRC32, tokens; every block but the last is full
    end      22 bytes                 a block of 0 frames that carries the counts

Full blocks have one size, so that a damaged one does not hide the next and any frame can be reached by arithmetic. The
counts in the header may be unknown: then the file can be written to a pipe, and the end record has them.
"""

from __future__ import annotations

from codec.bitstream.header import BLOCK_FRAMES, HEADER_SIZE, MAGIC, SUFFIX, VERSION, Header
from codec.bitstream.reader import Condition, TokenFile, TokenReader, read_tokens, reading_tokens
from codec.bitstream.records import END_SIZE, pack_block, pack_end, pack_tokens, unpack_tokens
from codec.bitstream.writer import TokenWriter, write_tokens

__all__ = [
    "BLOCK_FRAMES",
    "END_SIZE",
    "HEADER_SIZE",
    "MAGIC",
    "SUFFIX",
    "VERSION",
    "Condition",
    "Header",
    "TokenFile",
    "TokenReader",
    "TokenWriter",
    "pack_block",
    "pack_end",
    "pack_tokens",
    "read_tokens",
    "reading_tokens",
    "unpack_tokens",
    "write_tokens",
]
