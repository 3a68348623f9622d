"""Real utterances with awkward names and rates, and shards made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from codec.manifest import Utterance
from codec.tarshards.writing import Options, write_shards


@pytest.fixture
def utterances(tmp_path: Path, speech_path: Path) -> list[Utterance]:
    """Sixteen: FLAC and wave, short ones, two channels, another rate, long and strange ids."""
    samples, _ = soundfile.read(speech_path, dtype="float32")
    (tmp_path / "audio").mkdir()
    made = []
    for number in range(12):
        piece = samples[2000 * number :][: 900 if number == 3 else 9000 + 37 * number]
        path = tmp_path / "audio" / f"{number}.{'flac' if number % 2 else 'wav'}"
        soundfile.write(path, piece, 24_000)
        id_ = {0: "a.b/c", 1: "ü 梨", 2: "x" * 150}.get(number, f"u{number}")
        made.append(Utterance(id_, path, len(piece), 24_000, f"s{number % 3}", "train", f"text {number}"))
    stereo, slow = tmp_path / "audio" / "stereo.flac", tmp_path / "audio" / "slow.wav"
    soundfile.write(stereo, samples[:16_000].reshape(2, -1).T, 24_000)
    soundfile.write(slow, samples[:7001], 11_025)
    return [*made, Utterance("stereo", stereo, 8000, 24_000), Utterance("slow", slow, 7001, 11_025, split="dev")]


@pytest.fixture
def make_shards(utterances: list[Utterance], tmp_path: Path) -> Callable[..., Path]:
    """A folder of four or more shards."""

    def make(name: str = "shards", format_name: str = "flac", shard_mb: float = 0.04) -> Path:
        write_shards(utterances, tmp_path / name, Options(format_name, shard_mb))
        return tmp_path / name

    return make
