"""A header, a few tokens, and their bytes in version 1 of the format."""

from __future__ import annotations

import io

import numpy as np

from codec.bitstream import Header, TokenFile, pack_block, pack_end, read_tokens, write_tokens

FINGERPRINT = "0123456789abcdef"
TOKENS = np.array([1, 2, 3, 63, 0, 5, 9, 33, 40, 17])

# Version 1 as it was first written: these bytes must be read for ever.
GOLDEN = bytes.fromhex(
    "8953565101000400" "0123456789abcdef" "c05d0000" "40010000" "40000000" "b80b000000000000" "0a00000000000000"
    "588565dd"
    "0400" "3718786b" "0420ff"
    "0400" "59cc59bb" "005261"
    "0200" "ca0ada20" "a110"
    "0000" "1e57cd19" "b80b000000000000" "0a00000000000000"
)  # fmt: skip
GOLDEN_PIPE = bytes.fromhex(
    "8953565101000400" "0123456789abcdef" "c05d0000" "40010000" "40000000" "ffffffffffffffff" "ffffffffffffffff"
    "7985af9f"
    "0300" "2fd59f85" "0420c0"
    "0000" "7f803d91" "8403000000000000" "0300000000000000"
)  # fmt: skip


def make_header(num_samples: int | None = 3000, codebook_size: int = 64, block_frames: int = 4) -> Header:
    return Header(FINGERPRINT, 24_000, 320, codebook_size, num_samples, block_frames)


def written(header: Header, tokens: np.ndarray) -> bytes:
    file = io.BytesIO()
    size = write_tokens(file, header, tokens)
    assert size == len(file.getvalue())
    return file.getvalue()


def piped(header: Header, tokens: np.ndarray, num_samples: int) -> bytes:
    """A file whose writer did not know the length: ``header`` without counts."""
    step = header.block_frames
    blocks = [pack_block(header, i, tokens[i * step : (i + 1) * step]) for i in range(header.blocks_of(len(tokens)))]
    return header.pack() + b"".join(blocks) + pack_end(header, num_samples)


def parsed(data: bytes) -> TokenFile:
    return read_tokens(io.BytesIO(data))
