"""Batches of real speech: each recording is what it is alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from tiny import CORPUS, TINY
from torch import Tensor

from codec import Codec, ModelConfig
from codec.audio import load
from codec.model import Tokens


@pytest.fixture(scope="module")
def recordings() -> list[Tensor]:
    """64 bits of real speech, each of another length, from 1 sample to half a second."""
    paths = sorted(CORPUS.glob("train-mini/**/*.ogg"))[:64]
    assert len(paths) == 64
    return [load(path, 24_000)[: 1 + 187 * number] for number, path in enumerate(paths)]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        *itertools.product([{"causal": True}, {"causal": False}], [5, 64]),
        ({"stem_stride": 8, "strides": (5, 4, 2)}, 5),
    ],
)
def test_64_recordings_together_are_what_they_are_alone(
    recordings: list[Tensor], changes: dict[str, object], size: int
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = TINY.encoder.model_copy(update=changes)
        codec = Codec(ModelConfig(**{**dict(TINY), "encoder": encoder})).eval()
    used = set()
    for start in range(0, 64, size):
        items = recordings[start : start + size]
        lengths = torch.tensor([len(item) for item in items])
        batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=0.5)
        tokens = codec.encode(batch, lengths=lengths)
        audio = codec.decode(tokens)
        for item, ids, waveform in zip(items, tokens.tokens, audio, strict=True):
            alone = codec.encode(item)
            frames = alone.tokens.shape[1]
            assert torch.equal(ids[:frames], alone.tokens[0])
            assert not ids[frames:].any()
            torch.testing.assert_close(waveform[:, : len(item)], codec.decode(alone)[0], rtol=0, atol=1e-4)
            assert not waveform[:, len(item) :].any()
            used |= set(alone.tokens[0].tolist())
    assert len(used) > 30  # of 64: the tokens can tell


def test_what_stands_behind_a_row_is_not_heard(tiny_codec: Codec, recordings: list[Tensor]) -> None:
    items = recordings[20:24]
    lengths = torch.tensor([len(item) for item in items])
    quiet = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    loud = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=1.0)
    tokens = tiny_codec.encode(quiet, lengths=lengths)
    assert torch.equal(tokens.tokens, tiny_codec.encode(loud, lengths=lengths).tokens)
    other = tokens.tokens.clone()
    for row, frames in zip(other, tokens.frame_lengths(320), strict=True):
        row[frames:] = 63
    assert torch.equal(tiny_codec.decode(tokens), tiny_codec.decode(Tokens(other, lengths)))
