"""The measurements behind docs/long_audio.md and of devices run, and print what they say they print."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codec import Codec, CodecError
from codec.inference import PreparedEncoder
from codec.inference.lstm import RUN_UPS

ROOT = Path(__file__).parents[1]


def measured(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, ROOT / "benchmarks" / script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return ended.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path, speech_path: Path) -> Path:
    (tmp_path / "speech").mkdir()
    for name in ("a.flac", "b.flac"):
        shutil.copy(speech_path, tmp_path / "speech" / name)
    return tmp_path / "speech"


def test_window_difference(folder: Path, tiny_model_dir: Path) -> None:
    options = ("--model", tiny_model_dir, "--seconds", 6, "--window", 2, "--window", 9, "--overlap", 0.5)
    title, _, short, whole = measured("window_difference.py", folder, *options)
    assert title.startswith(f"{tiny_model_dir}: 6.0 s, ")
    window, overlap, difference, worst, mel, *_ = map(float, short.split())
    assert (window, overlap) == (2, 0.5)
    assert -60 < difference < worst < 0 < mel
    window, overlap, difference, worst, mel, *_ = map(float, whole.split())
    assert (window, difference, worst, mel) == (9, -200, -200, 0)  # six seconds fit into nine


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from the kernel")
def test_long_audio(folder: Path, tiny_model_dir: Path) -> None:
    _, encoded, decoded, tokens = measured("long_audio.py", folder, "--model", tiny_model_dir, "--minutes", 0.7)
    for line, command in ((encoded, "encode"), (decoded, "decode")):
        minutes, name, peak_mb, speed = line.split()
        assert name == command and 0.3 < float(minutes) < 1.2
        assert 100 < float(peak_mb) < 3000 and float(speed) > 0
    assert tokens.endswith(": 0 differ from those of one pass")


def test_batch_exactness(folder: Path, tiny_model_dir: Path) -> None:
    title, result = measured("batch_exactness.py", folder, "--model", tiny_model_dir, "--files", 5, "--size", 3)
    assert title.startswith(f"{tiny_model_dir}: 5 recordings of 19199 to 95995 samples (5 lengths, 12 s) in 2 batches ")
    assert result.startswith("0 of 900 tokens differ (") and float(result.split()[-3]) < 1e-4


def test_lanes(folder: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    title, result = measured("lanes.py", folder, "--model", tiny_model_dir, "--seconds", 6, "--runs", 1)
    run_up = PreparedEncoder(tiny_codec.encoder).run_up
    assert run_up in RUN_UPS
    assert title == f"{tiny_model_dir}, 1 threads: a pass in parts with a run-up of {run_up} frames is chosen"
    assert result.startswith("  6.0 s: one pass ") and result.endswith(" of it; 0 tokens differ")


def test_devices(folder: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--model", tiny_model_dir, "--device", "cpu", "--files", 2, "--seconds", 3)
    (result,) = map(json.loads, measured("devices.py", folder, *options))
    assert result["tokens"] == 113 + 226  # of 1.5 and 3 s, and 7 samples each
    assert result["alone"] == result["together"] == result["in_chunks"] == 0
    assert result["difference"] < 1e-4 and 0 < result["noise_bfloat16"] < 0.05
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    devices = importlib.import_module("devices")
    original = devices.in_chunks
    monkeypatch.setattr(devices, "in_chunks", lambda codec, recording: original(codec, recording).flip(0))
    message = r"^cpu does not give what the processor gives: in_chunks 0\.\d+ \(at most 0\.005\)$"
    with pytest.raises(CodecError, match=message):
        devices.main(folder, str(tiny_model_dir), "cpu", 2, 3.0)
