"""Tokens into ``.svq`` files and back, in Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import codec.audio as audio_io
from codec import Codec, CodecError, Tokens
from codec.bitstream import read_tokens

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tokens(tiny_codec: Codec, speech: Tensor) -> Tokens:
    return tiny_codec.encode(speech[:9_999])


def test_saved_tokens_come_back_and_decode_the_same(tiny_codec: Codec, tokens: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.svq"
    tiny_codec.save_tokens(path, tokens)
    loaded = tiny_codec.load_tokens(path)
    assert torch.equal(loaded.tokens, tokens.tokens) and loaded.lengths.tolist() == [9_999]
    assert torch.equal(tiny_codec.decode(loaded), tiny_codec.decode(tokens))
    assert torch.equal(tiny_codec.decode(read_tokens(path)), tiny_codec.decode(tokens))
    tiny_codec.save_tokens(path, tokens.tokens[0].to(torch.int16))  # plain ones, in the place of the others
    assert tiny_codec.load_tokens(path).lengths.tolist() == [32 * 320]


def test_the_file_is_that_of_codec_encode(cli_encode: Path, tiny_codec: Codec, speech: Tensor, tmp_path: Path) -> None:
    tiny_codec.save_tokens(tmp_path / "b.svq", tiny_codec.encode(audio_io.load(tmp_path / "a.wav", 24_000)))
    assert (tmp_path / "b.svq").read_bytes() == cli_encode.read_bytes()


@pytest.fixture
def cli_encode(tiny_model_dir: Path, speech: Tensor, tmp_path: Path) -> Path:
    from codec.cli import main

    audio_io.write(tmp_path / "a.wav", speech[:9_999], 24_000)
    with pytest.raises(SystemExit, match="0"):
        main(["encode", str(tmp_path / "a.wav"), "--model", str(tiny_model_dir)])
    return tmp_path / "a.svq"


def test_what_stands_behind_a_shorter_row_is_not_written(tiny_codec: Codec, speech: Tensor, tmp_path: Path) -> None:
    batch = tiny_codec.encode([speech[:640], speech[:9_999]])
    tiny_codec.save_tokens(tmp_path / "a.svq", Tokens(batch.tokens[:1], batch.lengths[:1]))
    assert torch.equal(tiny_codec.load_tokens(tmp_path / "a.svq").tokens, batch.tokens[:1, :2])
    with pytest.raises(CodecError, match=r"tokens of 2 recordings: a \.svq file holds one; give Tokens\("):
        tiny_codec.save_tokens(tmp_path / "b.svq", batch)
    assert not (tmp_path / "b.svq").exists()


def test_tokens_of_another_model_and_damage_are_refused(tiny_codec: Codec, tokens: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "a.svq"
    tiny_codec.save_tokens(path, tokens)
    data, made_by = path.read_bytes(), tiny_codec.token_fingerprint
    path.write_bytes(data[:-5])
    for read in (tiny_codec.load_tokens, lambda path: tiny_codec.decode(read_tokens(path))):
        with pytest.raises(CodecError, match="end record is missing or damaged"):
            read(path)
    path.write_bytes(data)
    with torch.no_grad():
        tiny_codec.encoder.stem.conv.bias.add_(1)
    with pytest.raises(
        CodecError,
        match=rf"a\.svq: made by encoder {made_by}, but this model has encoder {tiny_codec.token_fingerprint}",
    ):
        tiny_codec.load_tokens(path)
    with pytest.raises(CodecError, match=f"made by encoder {made_by}"):
        tiny_codec.decode(read_tokens(path))
    with pytest.raises(CodecError, match="No such file"):
        tiny_codec.load_tokens(tmp_path / "b.svq")
    with pytest.raises(CodecError, match="tokens from 0 to 64"):
        tiny_codec.save_tokens(tmp_path / "b.svq", torch.tensor([0, 64]))


@pytest.mark.parametrize("heading", ["Tokens of one recording in Python", "Continuous latents"])
def test_what_the_page_shows_runs(
    heading: str, tiny_model_dir: Path, speech_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "tokens.md").read_text(encoding="utf-8")
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    audio_io.write("speech.wav", audio_io.load(speech_path, 24_000)[:24_001], 24_000)
    names: dict[str, object] = {}
    exec(code.replace("simvq-24khz-0.9kbps", str(tiny_model_dir)), names)
    back = names["back"]
    assert isinstance(back, Tensor) and back.shape == (1, 1, 24_001)
