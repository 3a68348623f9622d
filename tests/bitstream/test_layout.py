"""The .svq format byte by byte, as docs/format.md has it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from svq import FINGERPRINT, GOLDEN, GOLDEN_PIPE, TOKENS, make_header, parsed, piped, written

from codec.bitstream import HEADER_SIZE, Header, pack_tokens, read_tokens, unpack_tokens, write_tokens


def as_specified(tokens: list[int], K: int, hop: int, T: int, block_frames: int) -> bytes:
    """A writer straight from docs/format.md: one token at a time, nothing shared with the one under test."""
    counts = struct.pack("<QQ", T, len(tokens))
    fields = b"\x89SVQ\x01\x00" + struct.pack("<H", block_frames) + bytes.fromhex(FINGERPRINT)
    fields += struct.pack("<III", 24_000, hop, K) + counts
    header_crc = struct.pack("<I", zlib.crc32(fields))
    bits = 1
    while 2**bits < K:
        bits += 1
    records = [tokens[start : start + block_frames] for start in range(0, len(tokens), block_frames)]
    payloads = []
    for record in records:
        digits = "".join(f"{token:0{bits}b}" for token in record)
        digits += "0" * (-len(digits) % 8)
        payloads.append((len(record), bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))))
    payloads.append((0, counts))
    data = fields + header_crc
    for number, (n, payload) in enumerate(payloads):
        crc = zlib.crc32(header_crc + struct.pack("<Q", number) + struct.pack("<H", n) + payload)
        data += struct.pack("<HI", n, crc) + payload
    return data


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Header, np.ndarray]:
    K = draw(st.one_of(st.integers(1, 70), st.integers(1, 2**31), st.sampled_from([1, 2, 4096, 8192, 65_536, 2**31])))
    hop = draw(st.integers(1, 700))
    F = draw(st.integers(0, 90))
    T = 0 if F == 0 else (F - 1) * hop + draw(st.integers(1, hop))
    seed = draw(st.integers(0, 2**32 - 1))
    tokens = np.random.default_rng(seed).integers(0, K, F)
    return Header(FINGERPRINT, 24_000, hop, K, T, draw(st.integers(1, 40))), tokens


def test_version_1_stays_as_it_is() -> None:
    assert written(make_header(), TOKENS) == GOLDEN
    recording = parsed(GOLDEN)
    assert recording.is_whole
    assert recording.header == make_header()
    assert recording.num_samples == 3000
    assert recording.tokens.tolist() == TOKENS.tolist()


def test_version_1_from_a_pipe_stays_as_it_is() -> None:
    assert piped(make_header(None), TOKENS[:3], 900) == GOLDEN_PIPE
    recording = parsed(GOLDEN_PIPE)
    assert recording.is_whole
    assert recording.header == make_header(None)
    assert recording.num_samples == 900
    assert recording.tokens.tolist() == [1, 2, 3]


@settings(max_examples=200, deadline=None)
@given(recordings())
def test_files_are_as_specified(recording: tuple[Header, np.ndarray]) -> None:
    header, tokens = recording
    assert header.num_samples is not None
    expected = as_specified(
        tokens.tolist(), header.codebook_size, header.hop_length, header.num_samples, header.block_frames
    )
    assert written(header, tokens) == expected


def test_the_header_is_small_and_a_minute_costs_less_than_three_percent() -> None:
    assert len(make_header().pack()) == HEADER_SIZE <= 64
    F = 60 * 75
    header = Header(FINGERPRINT, 24_000, 320, 4096, 60 * 24_000)
    payload = F * 12 // 8
    assert len(written(header, np.zeros(F, np.int64))) - payload <= 0.03 * payload


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 31), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_packed_tokens_come_back(bits: int, F: int, seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, 2**bits, F)
    data = pack_tokens(tokens, bits)
    assert len(data) == -(-F * bits // 8)
    assert np.array_equal(unpack_tokens(data, F, bits), tokens)


@pytest.mark.parametrize(("K", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (4096, 12), (4097, 13), (2**31, 31)])
def test_bits_per_token(K: int, bits: int) -> None:
    assert make_header(codebook_size=K).bits_per_token == bits


# -- reading back -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(recordings(), st.booleans(), st.binary(max_size=40))
def test_recordings_come_back(recording: tuple[Header, np.ndarray], known: bool, behind: bytes) -> None:
    header, tokens = recording
    T = header.num_samples
    assert T is not None
    if not known:
        header = Header(
            FINGERPRINT, header.sample_rate, header.hop_length, header.codebook_size, None, header.block_frames
        )
    data = written(header, tokens) if known else piped(header, tokens, T)
    back = parsed(data + behind)
    assert back.header == header
    assert back.is_whole
    assert back.damage() == ""
    assert back.num_samples == T
    assert back.tokens.dtype == np.int64
    assert np.array_equal(back.tokens, tokens)
    assert back.whole_spans() == ([range(len(tokens))] if len(tokens) else [])


def test_files_and_open_files_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.svq"
    assert write_tokens(path, make_header(), TOKENS) == len(GOLDEN)
    assert path.read_bytes() == GOLDEN
    assert np.array_equal(read_tokens(str(path)).tokens, TOKENS)
    assert [child.name for child in path.parent.iterdir()] == ["a.svq"]
