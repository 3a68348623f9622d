from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.bitstream import (
    END_SIZE,
    HEADER_SIZE,
    Header,
    TokenFile,
    pack_block,
    pack_end,
    pack_tokens,
    read_tokens,
    unpack_tokens,
    write_tokens,
)
from codec.errors import CodecError

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


# -- the layout -------------------------------------------------------------------------------------------------------


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


# -- damage -----------------------------------------------------------------------------------------------------------


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


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_an_error_or_damage(data: bytes) -> None:
    with pytest.raises(CodecError):
        parsed(data)
    for start in (b"\x89SVQ", b"\x89SVQ\x01"):
        with pytest.raises(CodecError):
            parsed(start + data)
    for header in (make_header(), make_header(None), make_header(2**40), make_header(None, 1, 65_535)):
        recording = parsed(header.pack() + data)
        assert not recording.is_whole
        assert "\n" not in recording.damage()


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


# -- mistakes ---------------------------------------------------------------------------------------------------------


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
