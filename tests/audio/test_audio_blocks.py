from __future__ import annotations

import io
import logging
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from codec import audio
from codec.audio.blocks import reading, writing
from codec.audio.wave_stream import WaveStream
from codec.errors import CodecError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio.blocks, "_READ_BLOCK", 5000)
    monkeypatch.setattr(audio.blocks, "_WRITE_BLOCK", 3000)


@pytest.mark.parametrize(("suffix", "rate"), [(".wav", 24_000), (".flac", 44_100), (".ogg", 8000), (".mp3", 16_000)])
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_are_the_whole_file(tmp_path: Path, speech: Tensor, suffix: str, rate: int, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    samples = np.stack([speech.numpy(), speech.flip(0).numpy()][:channels], axis=1)
    soundfile.write(path, samples, rate)
    with reading(path, 24_000) as reader:
        blocks = list(reader.blocks())
    whole = audio.resample(audio.to_mono(audio.read(path)[0]), rate, 24_000)
    assert len(blocks) > 5
    assert reader.num_samples == len(whole)
    assert torch.equal(torch.cat(blocks), audio.load(path, 24_000))
    torch.testing.assert_close(torch.cat(blocks), whole, rtol=0, atol=1e-6)


def test_damage_is_found_on_the_way(tmp_path: Path, speech: Tensor) -> None:
    soundfile.write(tmp_path / "a.mp3", speech.numpy(), 24_000)
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(data[: len(data) // 2])
    samples = np.zeros(12_000)
    samples[7000:] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 24_000, subtype="FLOAT")
    for name, says in (("a.mp3", "of 48000 samples; the file is damaged"), ("nan.wav", "sample 7000 is NaN")):
        with reading(tmp_path / name, 24_000) as reader, pytest.raises(CodecError, match=says):
            list(reader.blocks())


@pytest.mark.parametrize(("coding", "zeros"), [("VORBIS", 1500), ("OPUS", 1000)])
@pytest.mark.parametrize("block", [5000, 1 << 17])
def test_a_lost_page_of_ogg_is_damage(
    tmp_path: Path, speech: Tensor, monkeypatch: pytest.MonkeyPatch, coding: str, zeros: int, block: int
) -> None:
    monkeypatch.setattr(audio.blocks, "_READ_BLOCK", block)
    path = tmp_path / "a.ogg"
    soundfile.write(path, speech.repeat(3).numpy(), 24_000, format="OGG", subtype=coding)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + zeros] = bytes(zeros)
    path.write_bytes(data)
    attempts = [lambda: audio.read(path), lambda: audio.load(path, 24_000), lambda: encode_in_blocks(path)]
    for attempt in attempts:
        with pytest.raises(CodecError, match=r"a\.ogg: the page at byte \d+ fails its checksum; the file is damaged"):
            attempt()


def encode_in_blocks(path: Path) -> None:
    with reading(path, 24_000) as reader:
        list(reader.blocks())


def test_fewer_samples_than_asked_for_are_damage(tmp_path: Path, speech: Tensor) -> None:
    """In a segment, for which the pages of the whole file are not checked."""
    path = tmp_path / "a.ogg"
    soundfile.write(path, speech.repeat(3).numpy(), 24_000, format="OGG", subtype="VORBIS")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = bytes(1500)
    path.write_bytes(data)
    with pytest.raises(CodecError, match=r"breaks off after \d+ of \d+ samples; the file is damaged"):
        audio.read(path, 0, 140_000)


def test_written_blocks_are_the_whole(tmp_path: Path, speech: Tensor) -> None:
    for name in ("a.wav", "a.flac"):
        with writing(tmp_path / name, 24_000) as writer:
            for block in speech.split(7001):
                writer.write(block)
        assert writer.num_samples == len(speech)
        torch.testing.assert_close(audio.load(tmp_path / name, 24_000), speech, rtol=0, atol=1e-4)


def test_a_broken_block_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="nothing was written"), writing(tmp_path / "a.wav", 8000) as writer:
        writer.write(torch.zeros(100))
        writer.write(torch.full((5,), torch.nan))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the file size")
@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_full_disk_leaves_no_file(tmp_path: Path, name: str) -> None:
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with (
            pytest.raises(CodecError, match=r"cannot write.*another place"),
            writing(tmp_path / name, 24_000) as writer,
        ):
            for _ in range(10):
                writer.write(torch.rand(50_000) - 0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


# -- pipes ------------------------------------------------------------------------------------------------------------

READ = """
import torch
from codec.audio.blocks import reading_stdin
from codec.errors import CodecError
try:
    with reading_stdin(24_000) as reader:
        print(reader.num_samples, sum(len(block) for block in reader.blocks()))
except CodecError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "through_a_pipe", "says"),
    [
        ("a.wav", True, "None 48000"),
        ("a.ogg", True, "None 48000"),
        ("a.flac", True, "48000 48000"),
        ("a.flac", False, "48000 48000"),
    ],
)
def test_standard_input(tmp_path: Path, speech: Tensor, name: str, through_a_pipe: bool, says: str) -> None:
    path = tmp_path / name
    soundfile.write(path, speech[::3].numpy(), 8000)
    command = [sys.executable, "-c", READ]
    if through_a_pipe:
        ended = subprocess.run(command, input=path.read_bytes(), stdout=subprocess.PIPE, check=True)
    else:
        with path.open("rb") as file:
            ended = subprocess.run(command, stdin=file, stdout=subprocess.PIPE, check=True)
    assert says in ended.stdout.decode()


class Pipe(io.BytesIO):
    """Cannot go back."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("file", [Pipe, io.BytesIO])
@pytest.mark.parametrize("known", [True, False])
def test_a_wave_stream_is_a_wave_file(speech: Tensor, file: type[io.BytesIO], known: bool) -> None:
    stream = file()
    writer = WaveStream(stream, "standard output", 24_000, len(speech) if known else None)
    for block in speech.split(9999):
        writer.write(block)
    writer.finish()
    data = stream.getvalue()
    expected = io.BytesIO()
    soundfile.write(expected, speech.numpy(), 24_000, format="WAV", subtype="PCM_16")
    if known or file is io.BytesIO:
        assert data == expected.getvalue()
    else:
        assert data[4:8] == data[40:44] == b"\xff" * 4
        assert data[44:] == expected.getvalue()[44:]
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 24_000 and len(samples) == len(speech)


def test_a_wave_stream_clips_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.BytesIO()
    writer = WaveStream(stream, "standard output", 8000, 3)
    writer.write(torch.tensor([0.5, -1.75, 1.5]))
    writer.finish()
    assert caplog.messages == ["standard output: clipped, the peak is 1.75 of full scale"]
    assert np.frombuffer(stream.getvalue()[44:], "<i2").tolist() == [16_384, -32_768, 32_767]


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"precious" * 100)
    with path.open("ab") as file:
        writer = WaveStream(file, "standard output", 8000, None)
        writer.write(torch.zeros(10))
        writer.finish()
    assert path.read_bytes()[:800] == b"precious" * 100


def test_one_channel_of_several(tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    sides = torch.stack([speech[:9_001], 0.5 * speech[9_001:18_002]])
    audio.write(tmp_path / "call.wav", sides, 24_000)
    with caplog.at_level(logging.INFO):
        for number, side in enumerate(sides, 1):
            found = audio.load(tmp_path / "call.wav", 24_000, channel=number)
            torch.testing.assert_close(found, side, atol=2**-15, rtol=0)
        assert "took channel 2 of 2" in caplog.text and "down-mixed" not in caplog.text
    for channel in (0, 3):
        with pytest.raises(CodecError, match=f"has no channel {channel}; expected 1 to 2"):
            audio.load(tmp_path / "call.wav", 24_000, channel=channel)
    audio.write(tmp_path / "mono.wav", speech, 24_000)
    assert torch.equal(audio.load(tmp_path / "mono.wav", 24_000, 1), audio.load(tmp_path / "mono.wav", 24_000))


def test_channels_that_cancel_each_other_are_told(
    tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    other = speech.flip(0)
    for name, sides, warned in (
        ("inverted", torch.stack([speech, -0.98 * speech]), True),
        ("same", torch.stack([speech, speech]), False),
        ("two", torch.stack([speech, other]), False),
        ("one", torch.stack([speech, torch.zeros_like(speech)]), False),
        ("silent", torch.zeros(2, 9_000), False),
    ):
        audio.write(tmp_path / f"{name}.flac", sides, 24_000)
        caplog.clear()
        audio.load(tmp_path / f"{name}.flac", 16_000)
        assert ("its channels cancel each other" in caplog.text) == warned, name
    caplog.clear()
    audio.load(tmp_path / "inverted.flac", 16_000, channel=1)
    assert "cancel" not in caplog.text
