"""Standard input and output: real processes, real pipes."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec import Codec
from codec.bitstream import HEADER_SIZE, read_tokens

CODEC = f"{shlex.quote(sys.executable)} -c 'from codec.cli import main; main()'"


@pytest.fixture
def files(cli, tmp_path: Path, stereo_path: Path, tiny_model_dir: Path) -> Path:
    """``a.svq`` and ``a.wav``: what the commands make of ``stereo.wav`` by name."""
    cli("encode", stereo_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    cli("decode", tmp_path / "a.svq", "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    return tmp_path


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in ``folder``; CODEC stands for the command."""
    line = line.replace("CODEC", CODEC).replace("MODEL", "--model model --device cpu")
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=folder, capture_output=True, check=False)


def same_audio(one: bytes, other: bytes) -> bool:
    """But for the last bit: matrix products of two processes may round a sample in 50,000 differently."""
    first, second = (np.frombuffer(wave[44:], dtype="<i2").astype(int) for wave in (one, other))
    return first.shape == second.shape and int(np.abs(first - second).max()) <= 1


def test_there_and_back_through_a_pipe(files: Path) -> None:
    ended = shell(files, "CODEC encode - MODEL < stereo.wav | tee b.svq | CODEC decode - MODEL > b.wav")
    assert ended.returncode == 0, ended
    assert (files / "b.svq").read_bytes() == (files / "a.svq").read_bytes()
    assert same_audio((files / "b.wav").read_bytes(), (files / "a.wav").read_bytes())
    assert b"standard input: down-mixed 2 channels to mono" in ended.stderr
    assert ended.stderr.count(b"standard output: 2.00 s, 150 tokens, 189 bytes") == 2


def test_a_length_that_is_not_known_before_the_end(files: Path) -> None:
    line = "cat stereo.wav | CODEC encode - MODEL | tee b.svq | CODEC decode - -o - MODEL | cat > b.wav"
    assert shell(files, line).returncode == 0
    recording = read_tokens(files / "b.svq")
    assert recording.header.num_samples is None
    assert recording.is_whole and recording.num_samples == 48_000
    assert recording.tokens.tolist() == read_tokens(files / "a.svq").tokens.tolist()
    piped, plain = (files / "b.wav").read_bytes(), (files / "a.wav").read_bytes()
    assert piped[40:44] == b"\xff" * 4  # to the end of the stream
    assert same_audio(piped, plain)
    assert len(soundfile.read(io.BytesIO(piped))[0]) == 48_000


def test_files_and_pipes_mix(files: Path) -> None:
    assert shell(files, "CODEC encode stereo.wav -o - MODEL | CODEC decode - -o c.wav MODEL").returncode == 0
    assert (files / "c.wav").read_bytes() == (files / "a.wav").read_bytes()


def test_printed_tokens_go_through_a_pipe(files: Path) -> None:
    ended = shell(files, "CODEC tokens a.svq --format json | CODEC decode - MODEL > b.wav")
    assert ended.returncode == 0, ended
    assert same_audio((files / "b.wav").read_bytes(), (files / "a.wav").read_bytes())
    assert b"standard output: 2.00 s, 150 tokens" in ended.stderr


@pytest.mark.parametrize(
    "line",
    [
        "encode <(cat stereo.wav) -o b.svq MODEL",
        "decode <(cat a.svq) -o b.wav MODEL",
        "tokens <(cat a.svq)",
        "info <(cat a.svq)",
    ],
)
def test_a_pipe_is_no_file(files: Path, line: str) -> None:
    ended = shell(files, f"CODEC {line}")
    assert ended.returncode == 2 and ended.stdout == b""
    assert (
        b"is a pipe, and a file is needed; save it first, or where - is taken redirect it: - < /dev/fd/" in ended.stderr
    )


# -- mistakes, in this process ----------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Callable[[io.BytesIO], None]:
    """Puts a stream in the place of standard input."""
    return lambda stream: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))


def test_damage_in_a_pipe(cli, feed, files: Path, tiny_model_dir: Path) -> None:
    data = (files / "a.svq").read_bytes()
    command = ("decode", "-", "-o", files / "b.wav", "--model", tiny_model_dir)
    feed(Pipe(data[:-30]))
    cli(*command).must_be_mistake("standard input: it ends early, after 0 frames (0.00 s) of 150; get it again")
    assert not (files / "b.wav").exists()
    feed(Pipe(data[: HEADER_SIZE + 30] + b"\xff" + data[HEADER_SIZE + 31 :]))  # the only block
    assert "no frame to decode" in cli(*command, "--partial").err
    assert not (files / "b.wav").exists()


def test_a_mistake_sends_nothing(cli, feed, files: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    tiny_codec.encoder.stem.conv.bias.data += 1
    tiny_codec.save_pretrained(files / "other")
    feed(Pipe((files / "a.svq").read_bytes()))
    cli("decode", "-", "--model", files / "other").must_be_mistake("standard input: made by encoder ")
    for data in (b"", b"No audio.", np.zeros(5000).tobytes()):
        for command in ("encode", "decode"):
            feed(io.BytesIO(data))
            cli(command, "-", "--model", tiny_model_dir).must_be_mistake("standard input: ")


def test_there_is_nothing_to_read(cli, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin, state in ((None, "closed"), (Terminal(), "a terminal")):
        monkeypatch.setattr("sys.stdin", stdin)
        for command in ("encode", "decode"):
            outcome = cli(command, "-", "-o", "-", "--model", tiny_model_dir)
            outcome.must_be_mistake(f"standard input is {state}; redirect a file (< IN)")


def test_a_terminal_gets_no_bytes(
    cli, stereo_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    outcome = cli("encode", stereo_path, "-o", "-", "--model", tiny_model_dir)
    assert outcome.code == 2 and outcome.out == ""
    assert "standard output is a terminal; redirect it, or give -o OUT.svq" in outcome.err


def test_the_default_output_of_a_file_is_beside_it_and_never_replaces_anything(
    cli, stereo_path: Path, tiny_model_dir: Path
) -> None:
    before = stereo_path.read_bytes()
    tokens, audio = stereo_path.with_suffix(".svq"), stereo_path.with_suffix(".decoded.wav")
    assert cli("encode", stereo_path, "--model", tiny_model_dir).out.startswith(f"{tokens}: ")
    assert cli("decode", tokens, "--model", tiny_model_dir).out.startswith(f"{audio}: ")
    assert soundfile.info(audio).frames == 48_000 and stereo_path.read_bytes() == before
    cli("encode", stereo_path, "--model", tiny_model_dir).must_be_mistake(str(tokens), "exists already")
    cli("decode", tokens, "--model", tiny_model_dir).must_be_mistake(str(audio), "exists already")


# -- a reader that goes away ------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_crash(files: Path) -> None:
    soundfile.write(files / "long.wav", np.zeros(24_000 * 100), 24_000)
    ended = shell(files, "CODEC encode long.wav -o - MODEL | CODEC decode - MODEL | head -c 100")
    assert len(ended.stdout) == 100
    assert b"Traceback" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_a_pipe(files: Path) -> None:
    ended = shell(files, "CODEC decode a.svq -o - MODEL > /dev/full")
    assert ended.returncode == 2
    said = b"error: standard output: writing failed (No space left on device); what was sent is not whole\n"
    assert ended.stderr == said


def test_a_wave_that_is_cut_short_in_a_pipe_is_said(files: Path) -> None:
    """Its header tells, unless the program before us did not know the length either."""
    line = "head -c 40044 stereo.wav | CODEC encode - MODEL > b.svq"  # 10,000 of 16,000 samples
    ended = shell(files, line)
    assert ended.returncode == 0
    assert b"warning: standard input: was cut short, its header promises 6000 samples more" in ended.stderr
    assert read_tokens(files / "b.svq").num_samples == 30_000
    data = bytearray((files / "stereo.wav").read_bytes())
    for unknown in (b"\xff\xff\xff\xff", (0x7FFFFFFF - 36).to_bytes(4, "little")):
        data[40:44] = unknown
        (files / "unknown.wav").write_bytes(data)
        ended = shell(files, "cat unknown.wav | CODEC encode - MODEL > b.svq")
        assert ended.returncode == 0 and b"cut short" not in ended.stderr, ended
        assert read_tokens(files / "b.svq").num_samples == 48_000
    samples, rate = soundfile.read(files / "stereo.wav")
    for subtype, unknown in (("PCM_24", 0x7FFFF000), ("FLOAT", 0x7FFFF000), ("PCM_32", 0x80000000)):
        soundfile.write(files / "wide.wav", samples, rate, subtype=subtype, format="WAV")
        data = bytearray((files / "wide.wav").read_bytes())
        place = data.index(b"data") + 4
        data[place : place + 4] = unknown.to_bytes(4, "little")
        (files / "wide.wav").write_bytes(data)
        ended = shell(files, "cat wide.wav | CODEC encode - MODEL > b.svq")
        assert ended.returncode == 0 and b"cut short" not in ended.stderr, ended
