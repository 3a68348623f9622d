"""What comes through a pipe is what is in the file, whatever its format."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import soundfile
import torch
from torch import Tensor

from codec import audio as audio_io
from codec.audio.blocks import reading_stdin
from codec.audio.pipes import readable
from codec.errors import CodecError


@contextmanager
def piped(data: bytes, *, then: bytes = b"") -> Iterator[int]:
    """The end of a pipe that is read, into which ``data`` is written byte by byte at first."""
    out, into = os.pipe()

    def write() -> None:
        try:
            for place in range(8):
                os.write(into, data[place : place + 1])
            view = memoryview(data)[8:]
            while len(view):
                view = view[os.write(into, view) :]
            os.write(into, then)
        except BrokenPipeError:
            pass
        os.close(into)

    writer = Thread(target=write)
    writer.start()
    try:
        yield out
    finally:
        os.close(out)
        writer.join()


def heard(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, bool]:
    """All that standard input gives, and whether its length was known before."""
    with os.fdopen(os.dup(descriptor)) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with reading_stdin(24_000) as reader:
            return torch.cat(list(reader.blocks())), reader.num_samples is not None


@pytest.mark.parametrize(
    ("container", "coding", "known"),
    [
        ("WAV", "PCM_16", False),
        ("AIFF", "PCM_24", False),
        ("AU", "FLOAT", False),
        ("OGG", "VORBIS", False),
        ("FLAC", "PCM_16", True),
        ("MP3", "MPEG_LAYER_III", True),
        ("RF64", "PCM_16", True),
        ("CAF", "PCM_16", True),
        ("W64", "PCM_16", True),
    ],
)
def test_every_format_goes_through(
    container: str, coding: str, known: bool, speech: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, speech.numpy(), 24_000, format=container, subtype=coding)
    with piped(path.read_bytes()) as pipe:
        found, told = heard(pipe, monkeypatch)
    assert told == known
    torch.testing.assert_close(found, audio_io.load(path, 24_000), rtol=0, atol=0)


@pytest.mark.parametrize("data", [b"", b"Nn", b"No audio at all.", b"RIFF and no wave"])
def test_what_is_no_audio_is_said(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    os.write(into, data)
    os.close(into)
    with pytest.raises(CodecError, match="standard input: not audio that can be read"):
        heard(out, monkeypatch)
    os.close(out)


def test_nobody_waits_for_what_stands_behind_the_audio(
    speech: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wave tells its length; a program that goes on writing meets a closed pipe."""
    soundfile.write(tmp_path / "a.wav", speech.numpy(), 24_000)
    with piped((tmp_path / "a.wav").read_bytes(), then=bytes(1 << 22)) as pipe:
        assert len(heard(pipe, monkeypatch)[0]) == len(speech)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_full_disk_is_said(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: full.open("wb+", buffering))
    expected = r"x: this format must be kept in a file .* has no room \(No space left on device\).*set TMPDIR"
    with piped(b"fLaC" + bytes(size)) as pipe, pytest.raises(CodecError, match=expected), readable(pipe, "x"):
        raise AssertionError("nothing to read")


def test_no_folder_for_temporary_files_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        piped(b"fLaC") as pipe,
        pytest.raises(CodecError, match=r"there is no folder.*set TMPDIR"),
        readable(pipe, "x"),
    ):
        raise AssertionError("nothing to read")


def test_a_pipe_that_fails_is_no_end_of_the_recording(speech: Tensor, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.au", speech.numpy(), 24_000, format="AU")
    data = bytearray((tmp_path / "a.au").read_bytes())
    data[8:12] = b"\xff" * 4  # of unknown length
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = socket.create_connection(server.getsockname())
        one, _ = server.accept()
    other.sendall(data[:4000])
    with one, pytest.raises(CodecError, match="x: cannot be read any more"), readable(one.fileno(), "x") as source:
        assert isinstance(source, int)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets then
        other.close()
        while os.read(source, 1 << 16):
            pass
