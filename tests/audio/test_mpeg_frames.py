from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from torch import Tensor

from codec.audio.mpeg_frames import MpegFrames, examine

TAG = b"ID3\4\0\0\0\0\2\0" + b"\xff\xfb" * 128  # 256 bytes that look like frames


def written(speech: Tensor, rate: int, mode: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, speech.numpy(), rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return buffer.getvalue()


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])  # of MPEG-2.5, 2 and 1
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_as_many_samples_as_a_decoder_gives(speech: Tensor, rate: int, mode: str) -> None:
    data = written(speech, rate, mode)
    found = examine(io.BytesIO(data))
    assert found.counted
    assert 0 <= found.num_samples - 48_000 < 2 * 4095
    # Without the frame that counts, a decoder trims nothing; where it takes no end from an estimate it gives all.
    rest = data[data.index(data[:2], 48) :]
    assert examine(io.BytesIO(rest)) == MpegFrames(found.num_samples, counted=False)
    if mode == "CONSTANT":
        samples, _ = soundfile.read(io.BytesIO(rest[:-7]))
        assert examine(io.BytesIO(rest[:-7])).num_samples == len(samples)


def test_tags_and_junk_are_passed_over(speech: Tensor) -> None:
    data = written(speech, 24_000, "VARIABLE")
    num_samples = examine(io.BytesIO(data)).num_samples
    junk = np.random.default_rng(0).bytes(200_000)
    for whole in (TAG + data, data + b"TAG" + bytes(125), data + junk):
        assert examine(io.BytesIO(whole)) == MpegFrames(num_samples, counted=True)
    for twice in (data + data, TAG + data + TAG + data, data + b"TAG" + bytes(125) + data, data + junk + data):
        # The second counting frame is one like any other.
        assert examine(io.BytesIO(twice)) == MpegFrames(2 * num_samples + 576, counted=True)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xfb", b"ID3", TAG, bytes(100_000), b"\xff" * 70_000])
def test_what_has_no_frames(data: bytes) -> None:
    assert examine(io.BytesIO(data)) == MpegFrames(0, counted=False)
