"""What others have published, for the table to set beside our scores: quoted, never scored here.

``quoted.csv`` has a line for each system and test set, with its source. All of it follows the published protocol
(:class:`codec.evaluation.protocol.Protocol`), on whole LibriTTS test sets; it has means alone.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

QUOTED_FILE = Path(__file__).with_name("quoted.csv")
_FACTS = ("system", "test_set", "bitrate_bps", "codes_used_percent", "source", "note")


@dataclass(frozen=True)
class Quoted:
    """One published row."""

    system: str
    test_set: str  # of LibriTTS
    scores: Mapping[str, float]  # value -> mean; what is not published is not here
    bitrate_bps: float | None
    codes_used_percent: float | None  # of the codebook, over the test set
    source: str
    note: str  # what is to be known of it; may be empty


def read_quoted() -> list[Quoted]:
    """Every published row that the package has, in the order of the file."""
    with QUOTED_FILE.open(encoding="utf-8", newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def quoted_test_sets() -> list[str]:
    """Names of the test sets that there are published rows for."""
    return list(dict.fromkeys(row.test_set for row in read_quoted()))


def _row(line: dict[str, str]) -> Quoted:
    def number(key: str) -> float | None:
        return float(line[key]) if line[key] else None

    scores = {key: float(text) for key, text in line.items() if key not in _FACTS and text}
    return Quoted(
        line["system"],
        line["test_set"],
        scores,
        number("bitrate_bps"),
        number("codes_used_percent"),
        line["source"],
        line["note"],
    )
