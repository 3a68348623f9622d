"""What is no .svq file, and what cannot be written into one: one line each."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from svq import FINGERPRINT, GOLDEN, TOKENS, make_header

from codec.bitstream import Header, read_tokens, write_tokens
from codec.errors import CodecError


def checked(fields: bytes) -> bytes:
    return fields + struct.pack("<I", zlib.crc32(fields))


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", ("is empty", "expected a .svq file")),
        (b"RIFF" + bytes(100), ("not a .svq file", "codec encode")),
        (b"\x89SV", ("not a .svq file",)),
        (GOLDEN[:20], ("ends inside the header (20 of 48 bytes)", "get it again")),
        (GOLDEN[:4] + b"\2" + GOLDEN[5:], ("version 2", "knows version 1", "update")),
        (GOLDEN[:20] + b"\0" + GOLDEN[21:], ("header is damaged", "get it again")),
        (checked(GOLDEN[:5] + b"\x10" + GOLDEN[6:44]), ("flags 0x10", "update")),
        (checked(GOLDEN[:16] + bytes(4) + GOLDEN[20:44]), ("invalid header", "sample_rate=0")),
        (checked(GOLDEN[:20] + bytes(4) + GOLDEN[24:44]), ("invalid header", "hop_length=0")),
        (checked(GOLDEN[:24] + b"\xff" * 4 + GOLDEN[28:44]), ("invalid header", "codebook_size=4294967295")),
        (checked(GOLDEN[:36] + b"\x0b" + GOLDEN[37:44]), ("invalid header", "11 frames do not fit 3000 samples")),
        (checked(GOLDEN[:6] + bytes(2) + GOLDEN[8:44]), ("invalid header", "block_frames=0")),
    ],
)
def test_unreadable_headers_give_one_line(tmp_path: Path, data: bytes, parts: tuple[str, ...]) -> None:
    path = tmp_path / "a.svq"
    path.write_bytes(data)
    with pytest.raises(CodecError) as error:
        read_tokens(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_files_and_folders_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"a\.svq: cannot be read \(No such file or directory\); give an existing"):
        read_tokens(tmp_path / "a.svq")
    with pytest.raises(CodecError, match=r"is a folder; give a \.svq file"):
        read_tokens(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "part"),
    [
        (TOKENS[:9], r"shape \(9,\) for 3000 samples: expected \(10,\)"),
        (TOKENS[None], r"shape \(1, 10\)"),
        (TOKENS.astype(float), r"type float64: expected \(F,\), integers from 0 to 63"),
        (np.where(TOKENS == 63, 64, TOKENS), "integers from 0 to 63"),
        (TOKENS - 1, "integers from 0 to 63"),
    ],
)
def test_tokens_that_do_not_fit_are_not_written(tmp_path: Path, tokens: np.ndarray, part: str) -> None:
    with pytest.raises(CodecError, match=part):
        write_tokens(tmp_path / "a.svq", make_header(), tokens)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CodecError, match="cannot write there"):
        write_tokens(tmp_path / "file" / "a.svq", make_header(), TOKENS)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (("0123", 24_000, 320, 64, 3000), "fingerprint='0123': expected 16 hex digits"),
        (("01 23 45 67 89ab", 24_000, 320, 64, 3000), "16 hex digits"),
        ((FINGERPRINT, 0, 320, 64, 3000), "sample_rate=0: expected 1 to 4294967295"),
        ((FINGERPRINT, 24_000, 2**32, 64, 3000), "hop_length=4294967296"),
        ((FINGERPRINT, 24_000, 320, 0, 3000), "codebook_size=0: expected 1 to 2147483648"),
        ((FINGERPRINT, 24_000, 320, 64, -1), "num_samples=-1"),
        ((FINGERPRINT, 24_000, 320, 64, 2**64 - 1), "num_samples=18446744073709551615"),
        ((FINGERPRINT, 24_000, 320, 64, 3000, 65_536), "block_frames=65536"),
    ],
)
def test_header_values_are_checked(values: tuple, part: str) -> None:
    with pytest.raises(CodecError, match=part):
        Header(*values)
