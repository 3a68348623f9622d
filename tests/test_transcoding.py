from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from codec import Codec, CodecError
from codec.audio import load
from codec.audio.blocks import reading
from codec.bitstream import HEADER_SIZE, Header, TokenReader, TokenWriter, read_tokens
from codec.folders import Task
from codec.streaming import Windows, decode_chunks
from codec.transcoding import Transcoder, check_tokens

SHORT = Windows(window_s=0.4, overlap_s=0.16, fade_s=0.02)
BLOCK = 20  # frames: two seconds are 150 frames in 8 blocks
BLOCK_BYTES = 6 + BLOCK * 6 // 8


@pytest.fixture
def transcoder(tiny_codec: Codec) -> Transcoder:
    return Transcoder(tiny_codec, "tiny", SHORT)


@pytest.fixture
def coded(transcoder: Transcoder, speech: Tensor) -> bytes:
    """Two seconds less 100 samples in blocks of 20 frames, with counts."""
    file = io.BytesIO()
    writer = TokenWriter(file, Header(transcoder.token_fingerprint, 24_000, 320, 64, 47_900, BLOCK))
    writer.write(transcoder.codec.encode(speech[:47_900]).tokens[0].numpy())
    writer.finish(47_900)
    return file.getvalue()


def decoded(transcoder: Transcoder, data: bytes, partial: bool = False) -> Tensor:
    pieces: list[Tensor] = []
    transcoder.decode(TokenReader(io.BytesIO(data), "a.svq"), pieces.append, partial=partial)
    return torch.cat(pieces)


def test_a_file_is_encoded_as_in_one_pass(transcoder: Transcoder, tmp_path: Path, speech: Tensor) -> None:
    stereo = np.stack([speech.numpy(), 0.5 * speech.numpy()], axis=1)
    soundfile.write(tmp_path / "a.wav", np.tile(stereo, (5, 1)), 16_000)  # 15 s: several blocks
    facts = transcoder.encode_file(tmp_path / "a.wav", tmp_path / "a.svq")
    recording = read_tokens(tmp_path / "a.svq")
    assert recording.is_whole and recording.num_samples == 360_000
    assert facts == (15.0, 1125, (tmp_path / "a.svq").stat().st_size)
    expected = transcoder.codec.encode(load(tmp_path / "a.wav", 24_000)).tokens[0]
    assert recording.tokens.tolist() == expected.tolist()
    assert len(expected.unique()) > 40


def test_a_file_is_decoded_in_windows_to_the_last_sample(transcoder: Transcoder, tmp_path: Path, coded: bytes) -> None:
    (tmp_path / "a.svq").write_bytes(coded)
    facts = transcoder.decode_file(tmp_path / "a.svq", tmp_path / "a.wav")
    assert facts == (47_900 / 24_000, 150, len(coded))
    tokens = torch.from_numpy(read_tokens(tmp_path / "a.svq").tokens)
    expected = torch.cat(list(decode_chunks(transcoder.codec, [tokens], SHORT)))[:47_900]
    assert torch.equal(decoded(transcoder, coded), expected)
    torch.testing.assert_close(load(tmp_path / "a.wav", 24_000), expected.clamp(-1, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("block", [0, 3, 7])
def test_a_lost_block_is_silence_in_its_place(transcoder: Transcoder, coded: bytes, block: int) -> None:
    data = bytearray(coded)
    data[HEADER_SIZE + block * BLOCK_BYTES + 9] ^= 1
    with pytest.raises(
        CodecError, match=rf"a\.svq: frames {20 * block} to .* are damaged; get it again, or give --par"
    ):
        decoded(transcoder, bytes(data))
    audio = decoded(transcoder, bytes(data), partial=True)
    start, stop = 6400 * block, min(47_900, 6400 * (block + 1))
    assert len(audio) == 47_900
    assert not audio[start:stop].any()
    assert audio[:start].abs().sum() + audio[stop:].abs().sum() > 0
    tokens = read_tokens(io.BytesIO(coded)).tokens
    if block:
        before = torch.cat(list(decode_chunks(transcoder.codec, [torch.from_numpy(tokens[: 20 * block])], SHORT)))
        assert torch.equal(audio[:start], before)


def test_a_check_finds_damage_before_any_decoding(tmp_path: Path, coded: bytes) -> None:
    path = tmp_path / "a.svq"
    path.write_bytes(coded)
    check_tokens(path)
    path.write_bytes(coded[:-23])
    with pytest.raises(CodecError, match="it ends early, after 140 frames"):
        check_tokens(path)
    check_tokens(path, partial=True)
    path.write_bytes(coded[:HEADER_SIZE])
    with pytest.raises(CodecError, match="there is no frame to decode"):
        check_tokens(path, partial=True)


def test_tokens_of_another_model_are_refused_before_anything_is_written(
    transcoder: Transcoder, tmp_path: Path, coded: bytes, tiny_codec: Codec
) -> None:
    (tmp_path / "a.svq").write_bytes(coded)
    tiny_codec.encoder.stem.conv.bias.data += 1
    other = Transcoder(tiny_codec, "exp/other")
    with pytest.raises(CodecError, match=f"made by encoder {transcoder.token_fingerprint}, but exp/other has encoder"):
        other.decode_file(tmp_path / "a.svq", tmp_path / "a.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svq"]


def test_a_recording_whose_length_is_not_promised(transcoder: Transcoder, tmp_path: Path, speech: Tensor) -> None:
    soundfile.write(tmp_path / "a.wav", speech[:5000].numpy(), 24_000)
    file = io.BytesIO()
    with reading(tmp_path / "a.wav", 24_000) as reader:
        reader.num_samples = None
        transcoder.encode(reader, file)
    recording = read_tokens(io.BytesIO(file.getvalue()))
    assert recording.header.num_samples is None and recording.num_samples == 5000
    assert len(decoded(transcoder, file.getvalue())) == 5000


def test_files_behind_a_file_are_said_and_not_counted(
    transcoder: Transcoder, tmp_path: Path, coded: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Alone and together."""
    whole = Transcoder(transcoder.codec, "tiny")
    tasks = [Task(tmp_path / f"{name}.svq", tmp_path / f"{name}.wav") for name in "ab"]
    for task in tasks:
        task.source.write_bytes(2 * coded)
    for facts in (whole.decode_file(*tasks[0]), *whole.decode_files(tasks)):
        assert facts == (47_900 / 24_000, 150, len(coded))
    says = f"{len(coded)} bytes behind its end are not read"
    assert [record.getMessage().count(says) for record in caplog.records] == [1, 1, 1]
