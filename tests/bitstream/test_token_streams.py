"""The .svq format as a stream: written and read piece by piece, from files and pipes."""

from __future__ import annotations

import hashlib
import io
import resource
import signal
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.bitstream import HEADER_SIZE, Header, TokenReader, TokenWriter, read_tokens, write_tokens
from codec.errors import CodecError

FINGERPRINT = "0123456789abcdef"


class Pipe(io.RawIOBase):
    """Gives what there is, and can neither go back nor tell where it is."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.left = memoryview(data)
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        size = min(len(buffer), len(self.left), 7)  # a short read, as of a slow writer
        buffer[:size], self.left = self.left[:size], self.left[size:]
        self.taken += size
        return size


def recording(F: int = 150, K: int = 4096, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, K, F)


def header(num_samples: int | None, K: int = 4096, block_frames: int = 256) -> Header:
    return Header(FINGERPRINT, 24_000, 320, K, num_samples, block_frames)


def streamed(tokens: np.ndarray, num_samples: int, sizes: list[int], known: bool, block_frames: int) -> bytes:
    file = io.BytesIO()
    writer = TokenWriter(file, header(num_samples if known else None, block_frames=block_frames))
    start = 0
    for size in sizes:
        writer.write(tokens[start : start + size])
        start += size
    writer.write(tokens[start:])
    writer.finish(num_samples)
    assert writer.num_bytes == len(file.getvalue())
    return file.getvalue()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 100), st.lists(st.integers(0, 30), max_size=8), st.booleans(), st.integers(1, 40), st.booleans())
def test_pieces_are_one_file(F: int, sizes: list[int], known: bool, block_frames: int, pipe: bool) -> None:
    tokens = recording(F)
    data = streamed(tokens, 320 * F, sizes, known, block_frames)
    assert data == streamed(tokens, 320 * F, [], known, block_frames)
    reader = TokenReader(Pipe(data) if pipe else io.BytesIO(data))
    assert reader.num_samples == (None if pipe and not known else 320 * F)
    blocks = list(reader)
    assert all(len(block) == block_frames for block in blocks[:-1])
    assert np.concatenate([np.zeros(0, int), *blocks]).tolist() == tokens.tolist()
    assert reader.condition.is_whole and reader.num_samples == 320 * F


def test_a_block_leaves_when_it_is_full_and_comes_with_its_last_byte() -> None:
    file = io.BytesIO()
    writer = TokenWriter(file, header(None, block_frames=8))
    sizes = []
    for token in recording(20):
        writer.write(np.array([token]))
        sizes.append(len(file.getvalue()))
    block = 6 + 12
    assert sizes == [HEADER_SIZE] * 7 + [HEADER_SIZE + block] * 8 + [HEADER_SIZE + 2 * block] * 5
    writer.finish(20 * 320)
    pipe = Pipe(file.getvalue())
    reader = iter(TokenReader(pipe))
    for count in (1, 2):
        next(reader)
        assert pipe.taken == HEADER_SIZE + count * block


def test_a_long_recording_is_read_in_the_memory_of_a_block() -> None:
    tokens = recording(100_000)
    data = streamed(tokens, 320 * len(tokens), [], known=False, block_frames=256)
    for file in (Pipe(data), io.BytesIO(data)):
        tracemalloc.start()
        assert sum(len(block) for block in TokenReader(file)) == len(tokens)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000  # 800 kB of tokens, 150 kB of file


@pytest.mark.parametrize(
    ("known", "digest"),
    [
        (True, "1e6772f2f9f3fd2239aba0f2cc6c2abd7289dc7bceeb6bf112c9e47cbb59595b"),
        (False, "dc0a580f7fa9f6bb4f6da77a4f1d4649b822b6fc42d6d51219a20debdcedefcf"),
    ],
)
def test_version_1_at_the_usual_sizes_stays_as_it_is(known: bool, digest: str) -> None:
    """Ten seconds at 75 tokens a second and 12 bits: the bytes of the first version, by their SHA-256."""
    tokens = np.arange(750) ** 2 * 7 % 4096
    data = streamed(tokens, 240_000 - 77, [], known, 256)
    assert len(data) == 48 + 3 * 6 + 750 * 12 // 8 + 22
    assert hashlib.sha256(data).hexdigest() == digest
    assert read_tokens(io.BytesIO(data)).tokens.tolist() == tokens.tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the file size")
def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CodecError, match=r"a\.svq: writing failed \(File too large\); nothing was written"):
            write_tokens(tmp_path / "a.svq", header(320 * 50_000), recording(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["counts", "no counts"])
@pytest.mark.parametrize("block_frames", [256, 50], ids=["one block", "three blocks"])
@pytest.mark.parametrize("file", [io.BytesIO, Pipe])
def test_every_flipped_bit_of_two_seconds_is_noticed(known: bool, block_frames: int, file) -> None:
    """150 tokens of 12 bits, as of two seconds at 75 tokens a second: no flip gives another token unreported."""
    tokens = recording()
    data = streamed(tokens, 48_000, [], known, block_frames)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            reader = TokenReader(file(bytes(damaged)))
        except CodecError as error:
            assert bit < 8 * HEADER_SIZE, "only a damaged header makes a file unreadable"
            assert "\n" not in str(error)
            continue
        assert bit >= 8 * HEADER_SIZE
        read = np.concatenate([np.zeros(0, int), *reader])
        assert not reader.condition.is_whole and reader.condition.damage()
        assert len(read) <= len(tokens)
        assert np.array_equal(read[read >= 0], tokens[: len(read)][read >= 0])


def test_a_damaged_block_in_a_pipe_costs_only_its_own_frames() -> None:
    tokens = recording()
    for known in (True, False):
        damaged = bytearray(streamed(tokens, 48_000, [], known, 10))
        damaged[HEADER_SIZE + 3 * 21 + 9] ^= 1
        reader = TokenReader(Pipe(bytes(damaged)))
        expected = np.where(np.arange(150) // 10 == 3, -1, tokens)
        assert np.concatenate(list(reader)).tolist() == expected.tolist()
        assert reader.condition.lost == (range(30, 40),) and reader.condition.complete


def test_damage_at_the_end_of_a_pipe_is_no_part_of_the_recording() -> None:
    data = bytearray(streamed(recording(), 48_000, [], False, 10)[: HEADER_SIZE + 6 * 21])
    for block in (4, 5):
        data[HEADER_SIZE + block * 21 + 9] ^= 1
    reader = TokenReader(Pipe(bytes(data)))
    assert sum(len(block) for block in reader) == 40
    assert reader.condition.lost == () and reader.num_samples is None
    assert reader.condition.damage() == "it ends early, after 40 frames (0.53 s) of an unknown number"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_from_a_pipe(data: bytes) -> None:
    with pytest.raises(CodecError):
        TokenReader(Pipe(data))
    for start in (header(3000), header(None), header(2**40), header(None, 1, 65_535)):
        reader = TokenReader(Pipe(start.pack() + data))
        tokens = np.concatenate([np.zeros(0, int), *reader])
        assert not reader.condition.is_whole
        whole = read_tokens(io.BytesIO(start.pack() + data))
        assert tokens.tolist() == whole.tokens.tolist() and reader.condition.lost == whole.lost


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [np.array([4096]), np.array([-1]), np.array([0.5]), np.zeros((1, 5), int)])
def test_tokens_that_are_none_are_not_written(tokens: np.ndarray) -> None:
    writer = TokenWriter(io.BytesIO(), header(None))
    with pytest.raises(CodecError, match=r"expected \(F,\), integers from 0 to 4095"):
        writer.write(tokens)
    assert writer.num_frames == 0


@pytest.mark.parametrize(("told", "finished"), [(None, 3 * 320), (None, 4 * 320 + 1), (1280, 1279), (1600, 1600)])
def test_a_length_that_does_not_fit_is_refused(told: int | None, finished: int) -> None:
    writer = TokenWriter(io.BytesIO(), header(told))
    writer.write(np.zeros(4, int))
    with pytest.raises(CodecError, match=f"4 tokens for {finished} samples"):
        writer.finish(finished)
