"""Running the command line as a user does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec.cli import main


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def must_be_mistake(self, *parts: str) -> None:
        """Exit code 2, nothing on stdout, one line on stderr that holds all ``parts``."""
        assert self.code == 2, self
        assert self.out == "", self
        assert self.err.startswith("error: "), self
        assert self.err.endswith("\n"), self
        assert self.err.count("\n") == 1, self
        for part in parts:
            assert part in self.err, self


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """``cli("encode", path, ...)`` through the console script's entry."""

    def call(*args: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def stereo_path(tmp_path: Path, speech_path: Path) -> Path:
    """Two seconds at 8 kHz, two channels."""
    samples, _ = soundfile.read(speech_path, frames=48_000, dtype="float32")
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([samples[::3], samples[::-3]], axis=1), 8000)
    return path
