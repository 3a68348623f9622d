from __future__ import annotations

import io

import pytest
import soundfile
from torch import Tensor

from codec.audio.chunk_headers import missing_bytes, unclaimed_bytes

KINDS = [
    ("WAV", "PCM_16", "LITTLE"),
    ("WAV", "PCM_16", "BIG"),
    ("WAV", "IMA_ADPCM", "FILE"),
    ("WAVEX", "FLOAT", "FILE"),
    ("RF64", "PCM_16", "FILE"),
    ("W64", "PCM_24", "FILE"),
    ("AIFF", "PCM_16", "FILE"),
    ("AIFF", "PCM_16", "LITTLE"),  # AIFC
    ("AU", "PCM_16", "BIG"),
    ("AU", "PCM_16", "LITTLE"),
]


def written(speech: Tensor, kind: tuple[str, str, str], num_samples: int = 5001) -> bytes:
    buffer = io.BytesIO()
    container, coding, order = kind
    soundfile.write(buffer, speech[:num_samples].numpy(), 24_000, format=container, subtype=coding, endian=order)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_what_is_cut_off_is_missing(speech: Tensor, kind: tuple[str, str, str]) -> None:
    data = written(speech, kind)
    assert missing_bytes(io.BytesIO(data)) == unclaimed_bytes(io.BytesIO(data)) == 0
    one, other = (missing_bytes(io.BytesIO(data[:length])) for length in (1000, 900))
    assert 0 < one <= len(data) - 1000 < one + 100  # all but what libsndfile puts behind the samples
    assert other == one + 100


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1] != "IMA_ADPCM"], ids="-".join)
def test_samples_that_no_header_claims(speech: Tensor, kind: tuple[str, str, str]) -> None:
    """As recorders leave a file that were cut off before they could write the length."""
    data = written(speech, kind, 0) + b"samples!"
    assert unclaimed_bytes(io.BytesIO(data)) == 8
    assert missing_bytes(io.BytesIO(data)) == 0


@pytest.mark.parametrize("promised", [(1 << 32) - 1, (1 << 31) - 1, 0x7FFFF000, 0x7F000000])
def test_a_length_may_be_open(speech: Tensor, promised: int) -> None:
    data = written(speech, ("WAV", "PCM_16", "LITTLE"))
    assert missing_bytes(io.BytesIO(data[:40] + promised.to_bytes(4, "little") + data[44:])) == 0
    data = written(speech, ("AU", "PCM_16", "BIG"))
    assert missing_bytes(io.BytesIO(data[:8] + promised.to_bytes(4, "big") + data[12:])) == 0


@pytest.mark.parametrize("data", [b"", b"RI", b"RIFF", b"RIFF\1\0\0\0AVI data\xff\0\0\0", b"fLaC" + bytes(50)])
def test_of_other_files_nothing_is_said(data: bytes) -> None:
    assert missing_bytes(io.BytesIO(data)) == unclaimed_bytes(io.BytesIO(data)) == 0


def test_a_length_beyond_the_file_ends_the_search(speech: Tensor) -> None:
    data = bytearray(written(speech, ("W64", "PCM_16", "FILE")))
    data[40 + 16 : 40 + 24] = b"\xff" * 8  # of the chunk "fmt "
    assert missing_bytes(io.BytesIO(data)) == 0
    data[40 + 16 : 40 + 24] = bytes(8)
    assert missing_bytes(io.BytesIO(data)) == 0
