"""The measurements behind docs/tokens.md and docs/scale.md run, and print what they say they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import codec.audio as audio_io
from codec.manifest import Utterance, write_manifest

ROOT = Path(__file__).parents[1]


def measured(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, ROOT / "benchmarks" / script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return ended.stdout.splitlines()


@pytest.fixture
def manifest(tmp_path: Path, speech_path: Path) -> Path:
    info = audio_io.info(speech_path)
    write_manifest(tmp_path / "m.jsonl", [Utterance("u", speech_path, info.num_samples, info.sample_rate)])
    return tmp_path / "m.jsonl"


def test_tokenize_speed(manifest: Path, tiny_model_dir: Path) -> None:
    options = ("--manifest", manifest, "--model", tiny_model_dir, "--minutes", 0.2, "--format", "npy")
    (line,) = measured("tokenize_speed.py", *options)
    result = json.loads(line)
    assert result["audio_s"] >= 12
    assert result["hours_an_hour"] == pytest.approx(result["audio_s"] / result["elapsed_s"])
    assert result["codes_used"] > 4


def test_crop_reading(manifest: Path) -> None:
    flac, opus, _, _, *rows = measured("crop_reading.py", "--manifest", manifest, "--crops", 3)
    assert float(flac.split()[1]) > float(opus.split()[1]) > 5  # kbit/s
    assert len(rows) == 8
    for row in rows:
        milliseconds, crops, num_bytes = map(float, row.split()[-3:])
        assert milliseconds > 0 and crops == pytest.approx(1000 / milliseconds, rel=0.6) and num_bytes >= 0
