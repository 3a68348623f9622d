"""Damaged, cut and forged .svq files: what is whole is read, the rest is named, nothing is believed."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from svq import GOLDEN, GOLDEN_PIPE, TOKENS, make_header, parsed, piped, written

from codec.bitstream import END_SIZE, HEADER_SIZE, Header, pack_block, pack_end, pack_tokens
from codec.errors import CodecError


@pytest.mark.parametrize("data", [GOLDEN, GOLDEN_PIPE], ids=["known", "pipe"])
def test_every_flipped_bit_is_noticed(data: bytes) -> None:
    whole = parsed(data).tokens
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            recording = parsed(bytes(damaged))
        except CodecError as error:
            assert bit < 8 * HEADER_SIZE, "only a damaged header makes a file unreadable"
            assert "\n" not in str(error)
            continue
        assert not recording.is_whole
        assert recording.damage()
        read = np.flatnonzero(recording.tokens >= 0)
        assert np.array_equal(recording.tokens[read], whole[read])


@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 1, 2, 6], ids=["n", "n-high", "crc", "tokens"])
def test_a_damaged_block_costs_only_its_own_frames(block: int, at: int) -> None:
    for data in (GOLDEN, piped(make_header(None), TOKENS, 3000)):
        damaged = bytearray(data)
        damaged[HEADER_SIZE + block * 9 + at] ^= 0xFF
        recording = parsed(bytes(damaged))
        frames = range(4 * block, min(10, 4 * block + 4))
        expected = TOKENS.copy()
        expected[frames.start : frames.stop] = -1
        assert recording.tokens.tolist() == expected.tolist()
        assert recording.lost == (frames,)
        assert recording.complete
        assert not recording.is_whole
        seconds = f"({frames.start / 75:.2f} s to {frames.stop / 75:.2f} s)"
        assert recording.damage() == f"frames {frames.start} to {frames.stop - 1} {seconds} are damaged"


def test_neighbouring_damage_is_one_gap() -> None:
    damaged = bytearray(GOLDEN)
    damaged[HEADER_SIZE + 6] ^= 1
    damaged[HEADER_SIZE + 9 + 6] ^= 1
    recording = parsed(bytes(damaged))
    assert recording.lost == (range(0, 8),)
    assert recording.whole_spans() == [range(8, 10)]


def test_whole_spans_lie_around_the_gaps() -> None:
    tokens = np.arange(40)
    damaged = bytearray(written(make_header(40 * 320), tokens))
    for block in (2, 5):
        damaged[HEADER_SIZE + 9 * block + 6] ^= 1
    assert parsed(bytes(damaged)).whole_spans() == [range(0, 8), range(12, 20), range(24, 40)]


@pytest.mark.parametrize("known", [True, False])
def test_every_truncation_gives_the_whole_blocks_before_it(known: bool) -> None:
    data = GOLDEN if known else piped(make_header(None), TOKENS, 3000)
    ends = [HEADER_SIZE + 9, HEADER_SIZE + 18, HEADER_SIZE + 26]
    for size in range(len(data)):
        if size < HEADER_SIZE:
            with pytest.raises(CodecError) as error:
                parsed(data[:size])
            assert "\n" not in str(error.value)
            continue
        recording = parsed(data[:size])
        frames = min(10, 4 * sum(size >= end for end in ends))
        assert recording.tokens.tolist() == TOKENS[:frames].tolist()
        assert recording.lost == ()
        assert not recording.complete
        if known and frames == 10:
            assert recording.damage() == "its end record is missing or damaged after frame 10, the last one"
        else:
            total = "10" if known else "an unknown number"
            assert recording.damage() == f"it ends early, after {frames} frames ({frames / 75:.2f} s) of {total}"


def test_damage_at_an_unknown_end_is_cut_off() -> None:
    data = bytearray(piped(make_header(None), TOKENS, 3000)[: HEADER_SIZE + 18])
    data[HEADER_SIZE + 9 + 6] ^= 1
    recording = parsed(bytes(data))
    assert recording.tokens.tolist() == TOKENS[:4].tolist()
    assert recording.lost == ()
    assert recording.num_samples is None
    assert not recording.complete


def test_blocks_belong_to_their_place_and_file() -> None:
    start, first, second, rest = (
        GOLDEN[:HEADER_SIZE],
        GOLDEN[HEADER_SIZE : HEADER_SIZE + 9],
        GOLDEN[HEADER_SIZE + 9 : HEADER_SIZE + 18],
        GOLDEN[HEADER_SIZE + 18 :],
    )
    assert parsed(start + second + first + rest).lost == (range(0, 8),)
    other = written(make_header(3001), TOKENS)
    assert parsed(start + other[HEADER_SIZE : HEADER_SIZE + 9] + second + rest).lost == (range(0, 4),)


def test_a_token_outside_the_codebook_is_damage() -> None:
    header = make_header(codebook_size=41)  # as many bits as 64
    blocks = [pack_block(header, i, TOKENS[4 * i : 4 * i + 4]) for i in range(3)]
    recording = parsed(header.pack() + b"".join(blocks) + pack_end(header, 3000))
    assert recording.lost == (range(0, 4),)  # where 63 is
    assert recording.tokens[4:].tolist() == TOKENS[4:].tolist()  # 40 is the highest code


def test_the_end_record_must_agree_with_the_header() -> None:
    end = pack_end(make_header(), 2999)  # as many frames
    recording = parsed(GOLDEN[:-END_SIZE] + end)
    assert not recording.complete
    assert recording.num_samples == 3000


def record(header: Header, index: int, said: int, payload: bytes) -> bytes:
    """A record whose checksum is right, whatever it says."""
    return struct.pack("<HI", said, zlib.crc32(struct.pack("<IQH", header.crc, index, said) + payload)) + payload


def test_blocks_with_a_valid_checksum_are_not_trusted() -> None:
    known, unknown = make_header(), make_header(None)
    full, short = TOKENS[:4], TOKENS[:3]

    data = known.pack() + pack_block(known, 0, short) + GOLDEN[HEADER_SIZE + 9 :]  # 3 tokens have the size of 4
    assert parsed(data).lost == (range(0, 4),)
    assert parsed(data).tokens[4:].tolist() == TOKENS[4:].tolist()

    too_long = record(unknown, 0, 5, pack_tokens(TOKENS[:5], 6))
    assert len(parsed(unknown.pack() + too_long + bytes(30)).tokens) == 0
    after_short = unknown.pack() + pack_block(unknown, 0, short) + pack_block(unknown, 1, full) + bytes(30)
    assert parsed(after_short).tokens.tolist() == short.tolist()
    cut = record(unknown, 0, 4, pack_tokens(full, 6)[:-1])
    assert len(parsed(unknown.pack() + cut).tokens) == 0


def test_end_records_with_a_valid_checksum_are_not_trusted() -> None:
    unknown = make_header(None)
    blocks = unknown.pack() + pack_block(unknown, 0, TOKENS[:4])
    assert parsed(blocks + pack_end(unknown, 4 * 320) + b"behind").complete
    assert not parsed(blocks + pack_end(unknown, 3 * 320) + b"behind").complete
    contradiction = parsed(blocks + record(unknown, 1, 0, struct.pack("<QQ", 4 * 320 + 1, 4)))
    assert not contradiction.complete
    assert contradiction.num_samples is None


STARTS = (
    *(b"", b"\x89SVQ", b"\x89SVQ\x01"),
    *(header.pack() for header in (make_header(), make_header(None), make_header(2**40), make_header(None, 1, 65_535))),
)


def test_ten_thousand_random_strings() -> None:
    """Behind nothing, a magic number, or a header that is right: no crash, no hang, nothing read that is not there."""
    seen = 0
    strings = st.lists(st.binary(max_size=120), min_size=20, max_size=20)  # drawn together, which is faster

    @settings(max_examples=500, deadline=None, database=None)
    @given(st.integers(0, len(STARTS) - 1), strings)
    def check(first: int, strings: list[bytes]) -> None:
        nonlocal seen
        for number, data in enumerate(strings, first):
            seen += 1
            start = STARTS[number % len(STARTS)]
            if len(start) < HEADER_SIZE:
                with pytest.raises(CodecError) as error:
                    parsed(start + data)
                assert "\n" not in str(error.value)
                continue
            recording = parsed(start + data)
            assert not recording.is_whole and "\n" not in recording.damage()
            assert (recording.tokens < 0).all() and len(recording.tokens) <= 8 * (HEADER_SIZE + len(data))

    check()
    assert seen >= 10_000


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=40, max_size=40))
def test_random_headers_with_a_valid_checksum_are_read_or_refused(data: bytes) -> None:
    fields = b"\x89SVQ" + data
    try:
        parsed(fields + struct.pack("<I", zlib.crc32(fields)) + bytes(100))
    except CodecError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("samples", [2**40, 2**64 - 2])
def test_memory_follows_the_file_not_the_header(samples: int) -> None:
    header = make_header(samples, codebook_size=1, block_frames=65_535)
    data = header.pack() + pack_block(header, 0, np.zeros(65_535, np.int64)) + bytes(1000)
    tracemalloc.start()
    recording = parsed(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(recording.tokens) == 65_535
    assert peak < 200 * len(data)
