"""``codec score``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codec import audio
from codec.evaluation import Scorer


@pytest.fixture
def pair(tmp_path: Path, speech_path: Path) -> tuple[Path, Path]:
    """A second of speech, and the same at a lower rate and half as loud."""
    speech = audio.load(speech_path, 24_000)[12_000:36_000]
    audio.write(tmp_path / "a.wav", speech, 24_000)
    audio.write(tmp_path / "b.wav", 0.5 * audio.resample(speech, 24_000, 16_000), 16_000)
    return tmp_path / "a.wav", tmp_path / "b.wav"


def test_a_line_a_value(cli, pair: tuple[Path, Path]) -> None:
    outcome = cli("score", *pair, "--metrics", "level,stoi,mel", "--device", "cpu")
    assert outcome.code == 0
    numbers = Scorer(16_000, ["level", "stoi", "mel"]).score_files(*pair).numbers
    assert outcome.out.splitlines() == [
        f"STOI: {numbers['stoi']:.3f} (higher is better)",
        f"log-mel distance: {numbers['mel_distance']:.3f} nats (lower is better)",
        f"level difference: {numbers['level_db']:.2f} dB (lower is better)",
    ]
    assert numbers["level_db"] == pytest.approx(6.02, abs=0.05)


def test_json_and_a_rate(cli, pair: tuple[Path, Path]) -> None:
    outcome = cli("score", *pair, "--metrics", "level,wer", "--sample-rate", 24000, "--json", "--device", "cpu")
    found = json.loads(outcome.out)
    assert found["sample_rate"] == 24_000
    assert found["scores"] == Scorer(24_000, ["level"]).score_files(*pair).numbers
    assert set(found["failures"]) == {"wer", "wer_original"}  # no network is here


def test_mistakes(cli, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    cli("score", pair[0], tmp_path / "none.wav").must_be_mistake("none.wav: cannot be read")
    cli("score", tmp_path / "none.wav", pair[1]).must_be_mistake("none.wav: cannot be read")
    cli("score", *pair, "--metrics", "stoy").must_be_mistake("unknown metric 'stoy'; did you mean stoi?")
    cli("score", *pair, "--metrics", "").must_be_mistake("no metrics chosen")
    audio.write(tmp_path / "silent.wav", 0 * audio.load(pair[0], 24_000), 24_000)
    cli("score", pair[0], tmp_path / "silent.wav", "--metrics", "stoi,pesq").must_be_mistake(
        "no metric could be computed; the reconstruction is silent"
    )
