"""How fast a system is: seconds of work for a second of audio.

Times differ from run to run, so they stand in a file of their own, ``speed.json``, and never among the scores, which
are the same to the last digit whenever and however they are computed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.files import read_json, write_text

SPEED_FILE = "speed.json"


@dataclass
class Speed:
    """Sums over utterances; those of several processes add up."""

    utterances: int = 0
    audio_s: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0

    def add(self, audio_s: float, encode_s: float | None, decode_s: float | None) -> None:
        """Count one utterance; a system that does not encode (None) has no speed."""
        if encode_s is not None and decode_s is not None:
            self.utterances += 1
            self.audio_s += audio_s
            self.encode_s += encode_s
            self.decode_s += decode_s

    def __add__(self, other: Speed) -> Speed:
        return Speed(
            self.utterances + other.utterances,
            self.audio_s + other.audio_s,
            self.encode_s + other.encode_s,
            self.decode_s + other.decode_s,
        )

    @property
    def encode_rtf(self) -> float:
        """Real-time factor: below 1 is faster than the speech."""
        return self.encode_s / self.audio_s

    @property
    def decode_rtf(self) -> float:
        """Real-time factor: below 1 is faster than the speech."""
        return self.decode_s / self.audio_s

    def line(self, conditions: str) -> str:
        """The facts in one line for people."""
        together = self.audio_s / (self.encode_s + self.decode_s)
        return (
            f"real-time factor {self.encode_rtf:.4f} encoding, {self.decode_rtf:.4f} decoding "
            f"({together:.1f} times faster than the speech together; {conditions})"
        )


@dataclass(frozen=True)
class MeasuredSpeed:
    """What ``speed.json`` says."""

    encode_rtf: float  # seconds of work for a second of audio
    decode_rtf: float
    utterances: int
    audio_s: float
    conditions: str  # device, threads and processes, of the machine that scored


def write_speed(folder: str | Path, speed: Speed, conditions: str) -> None:
    """Write ``speed.json``, at once or not at all, where anything was timed.

    Args:
        folder: of the results.
        speed: of all processes together.
        conditions: device, threads and processes, without which the numbers say nothing.

    Raises:
        CodecError: the folder cannot be written to.
    """
    if not speed.utterances:
        return
    measured = MeasuredSpeed(speed.encode_rtf, speed.decode_rtf, speed.utterances, speed.audio_s, conditions)
    write_text(Path(folder) / SPEED_FILE, json.dumps(asdict(measured), indent=2) + "\n")


def read_speed(folder: str | Path) -> MeasuredSpeed | None:
    """Read ``speed.json``; None where there is none, as with a system that is not timed.

    Raises:
        CodecError: a damaged file.
    """
    path = Path(folder) / SPEED_FILE
    if not path.exists():
        return None
    advice = "remove it, or score again with --overwrite"
    facts = read_json(path, advice)
    for key in ("encode_rtf", "decode_rtf", "utterances", "audio_s"):
        number: Any = facts.get(key)
        # type() and not isinstance(): true and false are integers to Python.
        if type(number) not in (int, float) or not 0 <= number <= sys.float_info.max:
            raise CodecError(f"{path}: {key}={number!r}, expected a number of at least 0; {advice}")
    return MeasuredSpeed(
        facts["encode_rtf"],
        facts["decode_rtf"],
        facts["utterances"],
        facts["audio_s"],
        str(facts.get("conditions", "conditions not noted")),
    )
