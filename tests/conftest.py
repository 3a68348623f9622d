"""Fixtures for all tests: a codec of a few thousand weights, and real speech."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import CORPUS, TINY
from torch import Tensor

from codec import Codec, RunConfig, bundled
from codec.audio import read
from codec.config import build, dump_yaml
from codec.files import write_text
from codec.releasing import Released, release
from codec.training.checkpoint import save_model


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Recipes, which set levels for their process, run in that of the tests."""
    loggers = [logging.getLogger(name) for name in ("codec", "codec.audio", "accelerate.utils.other")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def tiny_codec() -> Codec:
    """A seeded, untrained codec at 24 kHz, 75 tokens a second, 64 codes; in eval mode, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Codec(TINY).eval()


@pytest.fixture
def tiny_model_dir(tiny_codec: Codec, tmp_path: Path) -> Path:
    """``tiny_codec``, saved."""
    directory = tmp_path / "model"
    tiny_codec.save_pretrained(directory)
    return directory


@pytest.fixture
def tiny_run(tiny_codec: Codec, tmp_path: Path) -> Path:
    """``tiny_codec`` as best/ of a run folder, as after 900 steps."""
    run = tmp_path / "run"
    data = {"batch_size": 4, "crop_s": 2.0, "train": ["data/train-mini.jsonl"]}
    config = build(RunConfig, {"model": TINY.model_dump(mode="json"), "data": data})
    write_text(run / "config.yaml", dump_yaml(config))
    write_text(run / "metrics.jsonl", '{"step": 800, "time_s": 600.0}\n{"step": 1000, "time_s": 900.0}\n{"step":')
    save_model(tiny_codec, run / "best", 900)
    return run


@pytest.fixture
def shipped(tiny_run: Path, speech_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Released:
    """``tiny_codec`` in the place of the model that ships: its name, its fingerprint, in half precision."""
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / bundled.INDEX_FILE).write_text('{"models": {}}')
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "bundled")
    return release(tiny_run / "best", bundled.DEFAULT_MODEL, [speech_path], description="a tiny one")


@pytest.fixture(scope="session")
def speech_path() -> Path:
    """A FLAC recording of LibriTTS at 24 kHz, mono."""
    return min(CORPUS.glob("test-mini/**/*.flac"))


@pytest.fixture
def speech(speech_path: Path) -> Tensor:
    """Two seconds of real speech, (48000,), at 24 kHz."""
    audio, sample_rate = read(speech_path, num_samples=48_000)
    assert audio.shape == (1, 48_000)
    assert sample_rate == 24_000
    return audio[0]
