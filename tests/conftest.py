"""Fixtures for all tests: a codec of a few thousand weights, and real speech."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import CORPUS, TINY
from torch import Tensor

from codec import Codec
from codec.audio import read


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
