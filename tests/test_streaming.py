from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec import Codec, CodecError, ModelConfig
from codec.audio import load
from codec.config import build
from codec.streaming import StreamDecoder, StreamEncoder, Windows, _Joiner, decode_chunks, encode_chunks

CORPUS = Path(__file__).parents[1] / "egs" / "mini" / "corpus"


def cut(x: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    start = 0
    for size in sizes:
        yield x[start : start + size]
        start += size
    yield x[start:]


# -- encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [320, 1000, 24_000, 10**6])
def test_tokens_of_chunks_are_those_of_one_pass(tiny_codec: Codec, size: int) -> None:
    speech = torch.cat([load(path, 24_000) for path in sorted(CORPUS.glob("test-mini/**/*.flac"))[:6]])
    chunks = list(encode_chunks(tiny_codec, speech.split(size)))
    assert all(len(chunk) for chunk in chunks)
    tokens = tiny_codec.encode(speech).tokens[0]
    assert torch.equal(torch.cat(chunks), tokens)
    assert len(tokens.unique()) > 50  # of 64


def test_a_token_comes_with_its_last_sample(tiny_codec: Codec, speech: Tensor) -> None:
    fed = 0

    def live() -> Iterator[Tensor]:
        nonlocal fed
        for chunk in speech[:16_000].split(320):
            fed += len(chunk)
            yield chunk

    seen = [(fed, len(tokens)) for tokens in encode_chunks(tiny_codec, live())]
    assert seen == [(7 * 320, 7), *((count * 320, 1) for count in range(8, 51))]


@pytest.mark.parametrize("T", [1, 319, 320, 321, 2239, 2241, 5000])
def test_a_short_recording_in_chunks(tiny_codec: Codec, speech: Tensor, T: int) -> None:
    tokens = torch.cat(list(encode_chunks(tiny_codec, cut(speech[:T], [0, 1, 100, 0]))))
    assert torch.equal(tokens, tiny_codec.encode(speech[:T]).tokens[0])


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ([], "no samples"),
        ([torch.zeros(0)], "no samples"),
        ([torch.zeros(1, 100)], r"shape \(1, 100\)"),
        ([torch.zeros(100, dtype=torch.int16)], "int16: expected"),
        ([torch.zeros(100).numpy()], "audio of type ndarray: expected a tensor; torch.from_numpy"),
        ([torch.zeros(100), torch.full((50,), torch.nan)], "samples between 100 and 150"),
    ],
)
def test_chunks_that_cannot_be_encoded(tiny_codec: Codec, chunks: list[Tensor], says: str) -> None:
    with pytest.raises(CodecError, match=says):
        list(encode_chunks(tiny_codec, chunks))


# -- decoding ---------------------------------------------------------------------------------------------------------

SHORT = Windows(window_s=0.4, overlap_s=0.16, fade_s=0.02)  # 30 and 12 frames, 480 samples


def local_codec() -> Codec:
    """A decoder that sees 13 frames on each side and nothing else: without attention, group norms at their mean."""
    torch.manual_seed(0)
    config = build(
        ModelConfig,
        {
            "encoder": {"channels": 4, "latent_dim": 16, "lstm_layers": 0},
            "quantizer": {"codebook_size": 64},
            "decoder": {
                "dim": 16,
                "hidden_dim": 32,
                "layers": 1,
                "residual_blocks": 0,
                "attention": False,
                "group_norm_groups": 8,
            },
        },
    )
    codec = Codec(config).eval()
    codec.decoder.backbone.mixer = torch.nn.Sequential()
    return codec


LOCAL = local_codec()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.lists(st.integers(0, 60), max_size=8))
def test_windows_of_a_local_decoder_are_one_pass(F: int, sizes: list[int]) -> None:
    """Where a decoder sees no further than half an overlap, nothing of the seams is left."""
    tokens = torch.randint(64, (F,), generator=torch.Generator().manual_seed(F))
    chunks = list(decode_chunks(LOCAL, cut(tokens, sizes), Windows(window_s=0.8, overlap_s=0.4, fade_s=0.02)))
    torch.testing.assert_close(torch.cat(chunks), LOCAL.decode(tokens)[0, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("F", [1, 29, 30])
def test_what_fits_into_one_window_is_decoded_in_one_pass(tiny_codec: Codec, F: int) -> None:
    tokens = torch.arange(F) % 64
    (audio,) = decode_chunks(tiny_codec, tokens.split(7), SHORT)
    assert torch.equal(audio, tiny_codec.decode(tokens)[0, 0])


@pytest.mark.parametrize("F", [31, 32, 47, 48, 49, 66, 67, 300])
def test_windows_are_all_of_one_size_and_cover_everything(
    tiny_codec: Codec, F: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = Codec.decode

    def watched(self: Codec, tokens: Tensor) -> Tensor:
        decoded.append(tokens.tolist())
        return decode(self, tokens)

    monkeypatch.setattr(Codec, "decode", watched)
    tokens = torch.arange(F) % 64
    audio = torch.cat(list(decode_chunks(tiny_codec, tokens.split(10), SHORT)))
    assert len(audio) == F * 320
    starts = [*range(0, F - 30, 18), F - 30]
    assert decoded == [tokens[start : start + 30].tolist() for start in starts]


def test_a_window_is_decoded_as_soon_as_it_is_known_not_to_be_the_last(tiny_codec: Codec) -> None:
    fed = 0

    def live() -> Iterator[Tensor]:
        nonlocal fed
        for chunk in (torch.arange(100) % 64).split(1):
            fed += len(chunk)
            yield chunk

    seen = [(fed, len(audio)) for audio in decode_chunks(tiny_codec, live(), SHORT)]
    seam = 24 * 320 - 240
    assert seen == [(31, seam), *((31 + 18 * i, 18 * 320) for i in range(1, 4)), (100, 100 * 320 - seam - 3 * 18 * 320)]


def test_what_is_pushed_gives_what_chunks_give(tiny_codec: Codec, speech: Tensor) -> None:
    sizes = [1, 0, 7, 3200, 319, 5000]
    pieces = [speech[sum(sizes[:n]) : sum(sizes[: n + 1])] for n in range(len(sizes))] + [speech[sum(sizes) :]]
    encoder = StreamEncoder(tiny_codec)
    pushed = torch.cat([*(encoder.push(piece) for piece in pieces), encoder.finish()])
    assert torch.equal(pushed, torch.cat(list(encode_chunks(tiny_codec, [speech]))))
    tokens = torch.arange(100) % 64
    decoder = StreamDecoder(tiny_codec, SHORT)
    audio = [decoder.push(piece) for piece in tokens.split([0, 31, 1, 40, 28])]
    assert [len(part) for part in audio[:2]] == [0, 24 * 320 - 240]  # as soon as a window is full
    whole = torch.cat([*audio, decoder.finish()])
    assert torch.equal(whole, torch.cat(list(decode_chunks(tiny_codec, [tokens], SHORT))))
    for finished, more in ((encoder, speech), (decoder, tokens)):
        with pytest.raises(CodecError, match="this recording is finished; make another"):
            finished.push(more)
        with pytest.raises(CodecError, match="this recording is finished"):
            finished.finish()
    with pytest.raises(CodecError, match="no samples"):
        StreamEncoder(tiny_codec).finish()
    with pytest.raises(CodecError, match="no tokens"):
        StreamDecoder(tiny_codec).finish()


def test_the_default_device_is_not_asked(tiny_codec: Codec, speech: Tensor) -> None:
    """Scripts set it for what they make themselves."""
    recordings = [speech[:9000], speech[:5000]]

    def results() -> list[Tensor]:
        tokens = torch.cat(list(encode_chunks(tiny_codec, speech.split(5000))))
        parts = torch.cat(list(decode_chunks(tiny_codec, tokens.split(30), Windows(0.8, 0.2))))
        both = tiny_codec.encode(recordings)
        return [tokens, parts, *both, tiny_codec.decode(both), tiny_codec.latents(recordings)]

    expected = results()
    with torch.device("meta"):
        found = results()
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_windows_of_another_length_keep_an_overlap() -> None:
    assert Windows.of(60) == Windows(60, 2.0) and Windows.of(1) == Windows(1, 0.25)


def test_a_seam_is_a_crossfade() -> None:
    joiner = _Joiner(4)
    first = joiner.add(torch.zeros(20), 0, seam=16)
    second = joiner.add(torch.ones(20), 10, seam=None)
    assert first.tolist() == [0.0] * 14
    assert second.tolist() == [0.125, 0.375, 0.625, 0.875] + [1.0] * 12


def test_half_a_window_fits_though_it_is_odd(tiny_codec: Codec) -> None:
    """75 frames are a second: half of it is no whole frame, and was refused as more than a half."""
    assert Windows(1.0, 0.5).sizes(tiny_codec) == (75, 37, 480)
    audio = torch.cat(list(decode_chunks(tiny_codec, [torch.arange(400) % 64], Windows(1.0, 0.5))))
    assert len(audio) == 400 * 320


@pytest.mark.parametrize(
    "windows",
    [
        Windows(overlap_s=0),
        Windows(1.0, 0.6),
        Windows(fade_s=3),
        Windows(0, 0, 0),
        Windows(fade_s=-1),
        Windows(math.nan),
        Windows(overlap_s=math.inf),
    ],
)
def test_windows_that_do_not_fit(tiny_codec: Codec, windows: Windows) -> None:
    with pytest.raises(CodecError, match="expected an overlap"):
        list(decode_chunks(tiny_codec, [torch.zeros(5, dtype=torch.int64)], windows))


def test_tokens_that_cannot_be_decoded(tiny_codec: Codec) -> None:
    with pytest.raises(CodecError, match="no tokens"):
        list(decode_chunks(tiny_codec, []))
    with pytest.raises(CodecError, match="tokens from 64 to 64"):
        list(decode_chunks(tiny_codec, [torch.full((9,), 64)]))
    for chunk, says in (
        (torch.zeros(1, 9, dtype=torch.int64), r"shape \(1, 9\) and type torch.int64: expected integers \(F,\)"),
        (torch.tensor(3), r"shape \(\)"),
        ([1, 2], "tokens of type list: expected a tensor"),
        (torch.zeros(9), "float32: expected integers"),
        (torch.zeros(9, dtype=torch.bool), "bool: expected integers"),
    ):
        with pytest.raises(CodecError, match=says):
            list(decode_chunks(tiny_codec, [torch.arange(9), chunk]))


def test_one_bad_token_does_not_spoil_a_stream(tiny_codec: Codec) -> None:
    tokens = torch.arange(50) % 64
    decoder = StreamDecoder(tiny_codec, SHORT)
    first = decoder.push(tokens[:20])
    for bad in ([5, 64], [-1]):
        with pytest.raises(CodecError, match="this model's codebook has 64 codes"):
            decoder.push(torch.tensor(bad))
    heard = torch.cat([first, decoder.push(tokens[20:]), decoder.finish()])
    assert torch.equal(heard, torch.cat(list(decode_chunks(tiny_codec, [tokens], SHORT))))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_tokens_may_be_of_any_integer_type(tiny_codec: Codec, dtype: torch.dtype) -> None:
    tokens = torch.arange(20) % 64
    (audio,) = decode_chunks(tiny_codec, [tokens.to(dtype)])
    assert torch.equal(audio, tiny_codec.decode(tokens)[0, 0])
