"""Lists of recordings, and of tokens, of unequal lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from codec import Codec, CodecError

LENGTHS = [9_999, 1, 24_000, 500]


@pytest.fixture
def recordings(speech: Tensor) -> list[Tensor]:
    return [speech[place * 100 :][:length] for place, length in enumerate(LENGTHS)]


@pytest.mark.parametrize("as_item", [Tensor.double, Tensor.numpy, lambda item: item.double().numpy()])
def test_a_list_of_recordings_is_each_of_them_alone(tiny_codec: Codec, recordings: list[Tensor], as_item) -> None:
    for given in ([as_item(item) for item in recordings], tuple(as_item(item) for item in recordings)):
        together = tiny_codec.encode(given)
        assert together.lengths.tolist() == LENGTHS
        audio = tiny_codec.decode(together)
        assert audio.shape == (4, 1, 24_000)
        for row, item in enumerate(recordings):
            alone = tiny_codec.encode(item)
            frames = alone.tokens.shape[1]
            assert torch.equal(together.tokens[row, :frames], alone.tokens[0])
            assert not together.tokens[row, frames:].any()
            torch.testing.assert_close(audio[row, :, : len(item)], tiny_codec.decode(alone)[0], atol=1e-5, rtol=0)


def test_lists_are_resampled(tiny_codec: Codec, recordings: list[Tensor]) -> None:
    together = tiny_codec.encode(recordings, sample_rate=16_000)
    assert together.lengths.tolist() == [14_999, 2, 36_000, 750]
    for row, item in enumerate(recordings):
        alone = tiny_codec.encode(item, sample_rate=16_000).tokens[0]
        assert torch.equal(together.tokens[row, : len(alone)], alone)


def test_a_list_of_tokens_is_each_of_them_alone(tiny_codec: Codec, recordings: list[Tensor]) -> None:
    tokens = [tiny_codec.encode(item).tokens[0] for item in recordings]
    for given in (tokens, [item.numpy().astype(np.uint16) for item in tokens]):
        audio = tiny_codec.decode(given)
        assert audio.shape == (4, 1, 24_000)
        for row, item in enumerate(tokens):
            own = len(item) * 320
            torch.testing.assert_close(audio[row, :, :own], tiny_codec.decode(item)[0], atol=1e-5, rtol=0)
            assert not audio[row, :, own:].any()


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        ([torch.zeros(3), torch.zeros(0)], "audio[1] has no samples"),
        ([torch.zeros(3), torch.zeros(2, 3)], "audio[1] of shape (2, 3): expected (T,); down-mix"),
        ([torch.zeros(3), np.zeros(3, np.int16)], "audio[1] of type ndarray"),
        ([torch.zeros(3), torch.zeros(3, dtype=torch.int16)], "audio[1] of type torch.int16: expected floats"),
        ([torch.zeros(3), [0.5]], "audio[1] of type list: expected a tensor"),
        ([np.zeros(3), np.full(3, np.nan)], "audio[1] has NaN or infinite samples"),
        ([], "audio of type list: expected a tensor"),
    ],
)
def test_lists_that_cannot_be_encoded_are_refused_by_item(tiny_codec: Codec, audio, says: str) -> None:
    with pytest.raises(CodecError) as error:
        tiny_codec.encode(audio)
    assert says in str(error.value)


def test_lengths_beside_a_list_are_refused(tiny_codec: Codec, recordings: list[Tensor]) -> None:
    with pytest.raises(CodecError, match="with a list of recordings, which tells them; leave lengths out"):
        tiny_codec.encode(recordings, lengths=torch.tensor(LENGTHS))


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([torch.zeros(2).long(), torch.zeros(0).long()], "no tokens in tokens[1]"),
        ([torch.zeros(2).long(), torch.zeros(1, 2).long()], "tokens of shape (1, 2)"),
        ([torch.zeros(2).long(), np.zeros(2)], "tokens of type ndarray"),
        ([torch.zeros(2).long(), torch.tensor([64])], "tokens from 0 to 64"),
        ([1, 2], "tokens of type list: expected a tensor"),
    ],
)
def test_lists_that_cannot_be_decoded_are_refused(tiny_codec: Codec, tokens, says: str) -> None:
    with pytest.raises(CodecError) as error:
        tiny_codec.decode(tokens)
    assert says in str(error.value)
