"""A few real utterances with awkward names, and datasets made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from accelerate import PartialState
from tokenized import IDS

from codec import Codec
from codec.manifest import Utterance
from codec.tokenstore import Index
from codec.tokenstore.tokenizing import Options, tokenize

# Samples at 24 kHz: shorter than a hop, than what a padded batch takes, whole hops, one more, and speech.
LENGTHS = (100, 3000, 6400, 6401, 24_000, 30_001, 12_345)


@pytest.fixture
def utterances(tmp_path: Path, speech_path: Path) -> list[Utterance]:
    samples, _ = soundfile.read(speech_path, dtype="float32")
    made = []
    for number, (id_, length) in enumerate(zip(IDS, LENGTHS, strict=True)):
        path = tmp_path / "audio" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples[9000 + 700 * number :][:length], 24_000)
        text = None if number == 1 else f"line\u2028 {number} „quoted“"
        made.append(Utterance(id_, path, length, 24_000, f"speaker-{number % 2}", "train", text))
    other_rate = tmp_path / "audio" / "other.flac"
    soundfile.write(other_rate, samples[9000:29_000], 16_000)
    return [*made, Utterance("other-rate", other_rate, 20_000, 16_000, split="dev")]


@pytest.fixture
def make_dataset(tiny_codec: Codec, utterances: list[Utterance], tmp_path: Path) -> Callable[[str], tuple[Path, Index]]:
    """A dataset of a format, in three or four shards."""

    def make(format_name: str) -> tuple[Path, Index]:
        folder = tmp_path / format_name
        options = Options(format_name, shard_hours=1.6 / 3600, batch_s=3.0)
        return folder, tokenize(tiny_codec, "tiny", utterances, folder, options, state=PartialState(cpu=True))

    return make
