"""``Codec.latents``, ``embed`` and ``decode_latents``: what lies on both sides of the bottleneck, whichever it is."""

from __future__ import annotations

import pytest
import torch
from contract_worker import SETTINGS, SYSTEMS
from tiny import TINY
from torch import Tensor

from codec import Codec, CodecError, ModelConfig
from codec.config import build
from codec.model import Tokens

LENGTHS = [9_999, 24_000, 500]


@pytest.fixture
def items(speech: Tensor) -> list[Tensor]:
    return [speech[place * 100 :][:length] for place, length in enumerate(LENGTHS)]


@pytest.mark.parametrize("system", SYSTEMS)
def test_quantised_latents_are_the_tokens_and_embedded_tokens_the_audio(system: str, items: list[Tensor]) -> None:
    settings = {**TINY.model_dump(mode="json"), "quantizer": {"codebook_size": 64, **SETTINGS[system]}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = Codec(build(ModelConfig, settings)).eval()
    tokens = codec.encode(items)
    latents, embedded = codec.latents(items), codec.embed(tokens)
    assert latents.shape == embedded.shape == (3, 16, 75)
    found = codec.quantizer.encode(latents)
    for row, frames in enumerate(tokens.frame_lengths(320).tolist()):
        assert torch.equal(found[row, :frames], tokens.tokens[row, :frames])
        assert torch.equal(embedded[row, :, :frames], codec.quantizer.decode(tokens.tokens[row : row + 1, :frames])[0])
        assert not latents[row, :, frames:].any() and not embedded[row, :, frames:].any()
    assert torch.equal(codec.decode_latents(embedded, tokens.lengths), codec.decode(tokens))
    assert torch.equal(codec.decode_latents(embedded[1:2]), codec.decode(tokens.tokens[1]))


def test_a_batch_of_latents_is_what_each_item_gives_alone(tiny_codec: Codec, items: list[Tensor]) -> None:
    batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=0.3)
    together = tiny_codec.latents(batch, lengths=torch.tensor(LENGTHS))
    assert torch.equal(together, tiny_codec.latents(items))
    audio = tiny_codec.decode_latents(together, lengths=torch.tensor(LENGTHS))
    for row, item in enumerate(items):
        alone = tiny_codec.latents(item)
        assert alone.shape == (1, 16, -(-len(item) // 320)) and not alone.requires_grad
        torch.testing.assert_close(together[row : row + 1, :, : alone.shape[-1]], alone, rtol=1e-4, atol=1e-5)
        by_itself = tiny_codec.decode_latents(alone, lengths=[len(item)])
        torch.testing.assert_close(audio[row, :, : len(item)], by_itself[0], rtol=0, atol=1e-4)
        assert not audio[row, :, len(item) :].any()
    resampled = tiny_codec.latents(items[0][:1_601], sample_rate=16_000)
    expected = tiny_codec.encode(items[0][:1_601], sample_rate=16_000).tokens
    assert torch.equal(tiny_codec.quantizer.encode(resampled), expected)


def test_unquantised_latents_are_the_autoencoder(tiny_codec: Codec, speech: Tensor) -> None:
    with torch.no_grad():
        expected = tiny_codec(speech[:3_200].view(1, 1, -1), bypass_quantizer=True).audio
    audio = tiny_codec.decode_latents(tiny_codec.latents(speech[:3_200]))
    torch.testing.assert_close(audio, expected, rtol=0, atol=1e-4)
    assert (audio - tiny_codec.decode(tiny_codec.encode(speech[:3_200]))).abs().max() > 1e-3  # it could be told apart


def test_simvq_embeds_projected_codes_and_not_the_frozen_table(tiny_codec: Codec) -> None:
    quantizer = tiny_codec.quantizer
    embedded = tiny_codec.embed(torch.arange(64))[0].T
    torch.testing.assert_close(embedded, quantizer.projected_codebook())
    assert not torch.allclose(embedded, quantizer.codebook)


def test_latents_of_other_types_and_shapes(tiny_codec: Codec, speech: Tensor) -> None:
    latents = tiny_codec.latents(speech[:3_200])
    assert torch.equal(tiny_codec.decode_latents(latents[0].double()), tiny_codec.decode_latents(latents))


@pytest.mark.parametrize(
    ("latents", "lengths", "says"),
    [
        (torch.zeros(1, 15, 4), None, "latents of shape (1, 15, 4) and type torch.float32: expected floats (B, 16, F)"),
        (torch.zeros(1, 16, 0), None, "at least one frame"),
        (torch.zeros(16), None, "latents of shape (16,)"),
        (torch.zeros(1, 16, 4, dtype=torch.int64), None, "type torch.int64: expected floats"),
        (torch.zeros(1, 16, 4).numpy(), None, "latents of type ndarray: expected a tensor"),
        (torch.full((1, 16, 4), torch.nan), None, "NaN or infinite"),
        (torch.zeros(1, 16, 2), [641], "lengths=[641]: expected 1 numbers from 1 to 640, what the latents hold"),
        (torch.zeros(2, 16, 2), [5], "lengths=[5]: expected 2 numbers"),
    ],
)
def test_latents_that_cannot_be_decoded_are_refused(tiny_codec: Codec, latents, lengths, says: str) -> None:
    with pytest.raises(CodecError) as error:
        tiny_codec.decode_latents(latents, lengths)
    assert says in str(error.value)


def test_what_encode_and_decode_refuse_is_refused_here(tiny_codec: Codec) -> None:
    with pytest.raises(CodecError, match="NaN or infinite"):
        tiny_codec.latents(torch.full((100,), torch.nan))
    with pytest.raises(CodecError, match="tokens from 0 to 64"):
        tiny_codec.embed(torch.tensor([0, 64]))
    with pytest.raises(CodecError, match="what the tokens hold"):
        tiny_codec.embed(Tokens(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([641])))
    tiny_codec.bfloat16()
    for call in (lambda: tiny_codec.latents(torch.zeros(400)), lambda: tiny_codec.embed(torch.zeros(2).long())):
        with pytest.raises(CodecError, match=r"weights are torch\.bfloat16"):
            call()
