"""Ctrl-C in the middle, and other wishes to end, by real signals to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from codec import Codec
from codec.audio import info
from codec.bitstream import Header, read_tokens, write_tokens

HOUR = 3600 * 24_000  # samples: more than a test can wait for
# A shell may start what it runs in the background without Ctrl-C.
# Whatever runs the tests may ignore signals (nohup, a shell's background), and children inherit that.
CODE = """import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in signal.SIGHUP, signal.SIGTERM:
    signal.signal(number, signal.SIG_DFL)
from codec.cli import main
main()"""


def interrupted(
    when: Callable[[], bool], *args: object, number: int = signal.SIGINT
) -> subprocess.CompletedProcess[str]:
    """Run a command, send a signal (Ctrl-C) as soon as ``when`` is true, and wait for its end."""
    command = [sys.executable, "-c", CODE, *map(str, args)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not when() and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def begun(folder: Path, stem: str) -> bool:
    """Whether a file is in work, and some of it written."""
    return any(path.stat().st_size > 100 for path in folder.glob(f".{stem}*.part*"))


def hour_of(speech: Tensor, path: Path) -> None:
    """Two seconds of speech, and nothing for an hour; the nothing takes no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech.numpy(), 24_000)
    size = 2 * HOUR
    with path.open("r+b") as file:
        file.seek(4)
        file.write((36 + size).to_bytes(4, "little"))
        file.seek(40)
        file.write(size.to_bytes(4, "little"))
        file.truncate(44 + size)
    assert info(path).num_samples == HOUR


@pytest.mark.parametrize(
    ("jobs", "number"), [(1, signal.SIGINT), (2, signal.SIGINT), (1, signal.SIGHUP), (2, signal.SIGTERM)]
)
def test_of_a_folder_finished_files_stay(
    tmp_path: Path, tiny_model_dir: Path, speech: Tensor, jobs: int, number: int
) -> None:
    hour_of(speech, tmp_path / "in" / "b" / "long.wav")
    for name in ("a.wav", "z.wav"):
        soundfile.write(tmp_path / "in" / name, speech.numpy(), 24_000)
    out = tmp_path / "out"
    args = ("encode", tmp_path / "in", "-o", out, "--model", tiny_model_dir, "--device", "cpu", "--jobs", jobs)
    finished = {"a.wav.svq"} if jobs == 1 else {"a.wav.svq", "z.wav.svq"}
    ready = lambda: begun(out / "b", "long") and finished <= {path.name for path in out.glob("*")}  # noqa: E731
    ended = interrupted(ready, *args, number=number)
    assert ended.returncode == 128 + number, ended
    assert "Traceback" not in ended.stderr
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == finished
    assert all(read_tokens(out / name).num_samples == 48_000 for name in finished)


def test_of_a_file_nothing_is_left(tmp_path: Path, tiny_model_dir: Path, tiny_codec: Codec) -> None:
    path = tmp_path / "a.svq"
    tokens = torch.randint(64, (HOUR // 320,), generator=torch.Generator().manual_seed(0))
    write_tokens(path, Header(tiny_codec.token_fingerprint, 24_000, 320, 64, HOUR), tokens.numpy())
    out = tmp_path / "out"
    args = ("decode", path, "-o", out / "a.wav", "--model", tiny_model_dir, "--device", "cpu")
    ended = interrupted(lambda: begun(out, "a"), *args)
    assert (ended.returncode, ended.stdout) == (130, ""), ended
    assert "Traceback" not in ended.stderr
    assert not out.exists()
