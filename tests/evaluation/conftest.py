"""Short real utterances."""

from __future__ import annotations

from pathlib import Path

import pytest
from doubles import RATE
from torch import Tensor

from codec import audio
from codec.manifest import Utterance, write_manifest

CORPUS = Path(__file__).parents[2] / "egs" / "mini" / "corpus" / "test-mini"


@pytest.fixture(scope="session")
def clips() -> list[Tensor]:
    """Six utterances of real speech by different speakers, (T,) at 24 kHz, 0.9 to 1.4 s."""
    speakers = sorted(folder for folder in CORPUS.iterdir() if any(folder.rglob("*.flac")))[:6]
    lengths = (26_000, 22_123, 33_001, 24_000, 30_017, 21_600)
    files = [min(folder.rglob("*.flac")) for folder in speakers]
    return [audio.load(file, RATE)[12_000 : 12_000 + n] for file, n in zip(files, lengths, strict=True)]


@pytest.fixture(scope="session")
def utterances(clips: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """``clips`` as 16-bit files; two utterances a speaker."""
    folder = tmp_path_factory.mktemp("speech")
    result = []
    for index, clip in enumerate(clips):
        path = folder / f"u{index}.wav"
        audio.write(path, clip, RATE)
        result.append(Utterance(f"u{index}", path, len(clip), RATE, speaker=f"s{index // 2}", split="test"))
    return result


@pytest.fixture(scope="session")
def manifest(utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "six.jsonl"
    write_manifest(path, utterances)
    return path
