from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import Tensor

from codec.audio.ogg_pages import MAGIC, OggPages, examine

CORPUS = Path(__file__).parents[2] / "egs" / "mini" / "corpus"


@pytest.fixture(params=["VORBIS", "OPUS"])
def data(request: pytest.FixtureRequest, speech: Tensor) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, speech.repeat(2).numpy(), 24_000, format="OGG", subtype=request.param)
    return buffer.getvalue()


def found(data: bytes) -> OggPages:
    return examine(io.BytesIO(data))


def page_starts(data: bytes) -> list[int]:
    return [place for place in range(len(data)) if data[place : place + 4] == MAGIC]


@pytest.mark.parametrize("path", sorted(CORPUS.glob("train-mini/**/*.ogg"))[::12], ids=lambda path: path.stem)
def test_real_recordings_are_whole(path: Path) -> None:
    assert found(path.read_bytes()) == OggPages()


def test_every_flipped_bit_is_found(data: bytes) -> None:
    last = page_starts(data)[-1]
    generator = np.random.default_rng(0)
    for bit in generator.integers(0, 8 * len(data), 200).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        pages = found(bytes(damaged))
        # A last page that says it is longer is one of which the end is missing.
        assert pages.damage or (not pages.complete and bit // 8 >= last)


def test_a_missing_page_is_damage(data: bytes) -> None:
    starts = page_starts(data)
    for first, after in pairwise(starts[1:]):
        assert found(data[:first] + data[after:]).damage == f"a page is missing before byte {first}"
    assert found(data[starts[1] :]).damage == "a page is missing before byte 0"


def test_a_file_cut_short_is_not_complete(data: bytes) -> None:
    last = page_starts(data)[-1]
    for length in (last // 2, last, last + 2, last + 20, len(data) - 1):
        assert found(data[:length]) == OggPages(complete=False)


def test_what_follows_the_last_page(data: bytes) -> None:
    assert found(data + data) == OggPages(followed=True)
    assert found(data + b"TAG" + bytes(2_000_000)) == OggPages()
    assert found(data + bytes((1 << 20) - 2) + data) == OggPages(followed=True)  # across the blocks of the search
    assert found(data[: page_starts(data)[-1]] + data) == OggPages(complete=False, followed=True)
