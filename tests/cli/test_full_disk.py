"""A disk that is full: what does not fit is reported, what fits is there, nothing is half-written."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from torch import Tensor

from codec.audio import info
from codec.bitstream import read_tokens

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the file size, and /dev/full")


@pytest.fixture
def room() -> Iterator[None]:
    """No file may grow beyond 150 bytes: 4 s of tokens do not fit, half a second does."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def recordings(tmp_path: Path, speech: Tensor) -> Path:
    (tmp_path / "in").mkdir()
    for name, length in (("a.wav", 48_000), ("b.wav", 12_000)):
        soundfile.write(tmp_path / "in" / name, speech[:length].numpy(), 24_000)
    return tmp_path / "in"


@pytest.mark.parametrize("options", [(), ("--jobs", 2), ("--batch", 60)])
def test_of_a_folder_the_rest_goes_on(
    cli, tmp_path: Path, tiny_model_dir: Path, recordings: Path, room: None, options: tuple[object, ...]
) -> None:
    out = tmp_path / "out"
    outcome = cli("encode", recordings, "-o", out, "--model", tiny_model_dir, *options)
    assert outcome.code == 2
    assert outcome.err == f"error: {out / 'a.wav.svq'}: writing failed (File too large); nothing was written\n"
    assert "1 files, 0.50 s" in outcome.out and outcome.out.endswith("; 1 failed\n")
    assert [path.name for path in out.iterdir()] == ["b.wav.svq"]
    assert read_tokens(out / "b.wav.svq").is_whole


def test_of_a_file_nothing_is_left(cli, tmp_path: Path, tiny_model_dir: Path, recordings: Path, room: None) -> None:
    outcome = cli("encode", recordings / "a.wav", "-o", tmp_path / "new" / "a.svq", "--model", tiny_model_dir)
    outcome.must_be_mistake("a.svq: writing failed (File too large); nothing was written")
    assert not (tmp_path / "new").exists()


def test_audio_that_does_not_fit(
    cli, tmp_path: Path, tiny_model_dir: Path, recordings: Path, request: pytest.FixtureRequest
) -> None:
    options = ("--model", tiny_model_dir)
    cli("encode", recordings, "-o", tmp_path / "tokens", *options)
    request.getfixturevalue("room")
    outcome = cli("decode", tmp_path / "tokens", "-o", tmp_path / "back", *options)
    assert outcome.code == 2 and outcome.out == f"{tmp_path / 'back'}: 0 files; 2 failed\n"
    assert outcome.err.count("error: ") == outcome.err.count("\n") == 2 and "Traceback" not in outcome.err
    assert not (tmp_path / "back").exists()
    assert info(recordings / "a.wav").num_samples == 48_000
