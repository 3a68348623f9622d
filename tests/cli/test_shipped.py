"""Commands without --model use the model that ships, and decoding the one that made the tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from codec import Codec, TokenDataset, bundled
from codec.bitstream import read_tokens, write_tokens
from codec.releasing import Released, release


def test_there_and_back_without_a_word(cli, shipped: Released, stereo_path: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped.codec.encoder.stem.conv.bias.data += 1
    shipped.codec.save_pretrained(bundled.DEFAULT_MODEL)  # a folder that happens to have its name is not meant
    assert cli("encode", stereo_path, "--device", "cpu").code == 0
    tokens = stereo_path.with_suffix(".svq")
    fingerprint = bundled.default_model().token_fingerprint
    assert read_tokens(tokens).header.fingerprint == fingerprint
    assert f"{fingerprint} (of {bundled.DEFAULT_MODEL})" in cli("info", tokens).out
    assert cli("decode", tokens, "--device", "cpu").code == 0
    assert soundfile.info(stereo_path.with_suffix(".decoded.wav")).frames == 48_000
    printed = json.loads(cli("tokens", stereo_path, "--format", "json").out)
    assert printed["model"] == fingerprint and printed["tokens"] == read_tokens(tokens).tokens.tolist()


@pytest.fixture
def made_by_another(
    shipped: Released, tiny_run: Path, speech_path: Path, stereo_path: Path, cli, tmp_path: Path
) -> tuple[Path, Codec]:
    """A file of tokens by a second model that ships, which is not the default, and that model."""
    codec = Codec.from_pretrained(tiny_run / "best", "cpu")
    codec.encoder.stem.conv.bias.data += 1
    codec.save_pretrained(tiny_run / "best")
    released = release(tiny_run / "best", "another", [speech_path], description="another")
    path = tmp_path / "tokens" / "a.wav.svq"
    assert cli("encode", stereo_path, "-o", path, "--model", "another").code == 0
    return path, released.codec


def test_tokens_find_the_model_that_made_them(cli, made_by_another: tuple[Path, Codec], tmp_path: Path) -> None:
    path, codec = made_by_another
    assert cli("decode", path, "-o", tmp_path / "one.wav").code == 0
    assert cli("decode", path.parent, "-o", tmp_path / "out").code == 0  # the folder
    recording = read_tokens(path)
    expected = codec.decode(torch.from_numpy(recording.tokens.astype(np.int64)), recording.num_samples)[0, 0]
    one, of_folder = (soundfile.read(tmp_path / name)[0] for name in ("one.wav", "out/a.wav"))
    np.testing.assert_allclose(one, expected.clamp(-1, 1).numpy(), atol=1e-4)
    np.testing.assert_array_equal(one, of_folder)


def test_of_models_with_the_same_tokens_the_default_decodes(
    cli, shipped: Released, tiny_run: Path, speech_path: Path, stereo_path: Path, tmp_path: Path
) -> None:
    codec = Codec.from_pretrained(tiny_run / "best", "cpu")
    codec.decoder.head.out.weight.data *= 0.5
    codec.save_pretrained(tiny_run / "best")
    release(tiny_run / "best", "another", [speech_path], description="another decoder")
    assert next(iter(bundled.bundled_models())) == "another"
    assert cli("encode", stereo_path, "--model", "another").code == 0
    decoded = {}
    for name, options in (
        ("none", ()),
        ("default", ("--model", bundled.DEFAULT_MODEL)),
        ("other", ("--model", "another")),
    ):
        assert cli("decode", stereo_path.with_suffix(".svq"), "-o", tmp_path / f"{name}.wav", *options).code == 0
        decoded[name] = (tmp_path / f"{name}.wav").read_bytes()
    assert decoded["none"] == decoded["default"] != decoded["other"]


def test_files_of_earlier_versions_carry_the_fingerprint_of_the_whole_model(
    cli, shipped: Released, stereo_path: Path, tmp_path: Path
) -> None:
    """Of a model that ships they and new ones are the same, in one folder, one file and one dataset."""
    tokens = tmp_path / "tokens"
    (tmp_path / "two").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "two" / name).write_bytes(stereo_path.read_bytes())
    assert cli("encode", tmp_path / "two", "-o", tokens).code == 0
    old, new = tokens / "a.wav.svq", tokens / "b.wav.svq"
    recording = read_tokens(old)
    write_tokens(old, replace(recording.header, fingerprint=shipped.codec.fingerprint), recording.tokens)
    assert shipped.codec.load_tokens(old).tokens.flatten().tolist() == recording.tokens.tolist()
    assert f"(of {bundled.DEFAULT_MODEL})" in cli("info", old).out
    assert "0 files; 2 were there already" in cli("encode", tmp_path / "two", "-o", tokens).out
    assert cli("decode", tokens, "-o", tmp_path / "back").code == 0
    listed = cli("info", tokens)
    assert shipped.codec.token_fingerprint in listed.out and not listed.err
    data = TokenDataset(tokens)
    assert data[0].tokens.tolist() == data[1].tokens.tolist()
    assert (data.model.name, data.model.fingerprint) == (bundled.DEFAULT_MODEL, shipped.codec.token_fingerprint)
    data.check_model(shipped.codec)
    (tmp_path / "both.jsonl").write_text(cli("tokens", old, new, "--format", "json").out)
    assert cli("decode", tmp_path / "both.jsonl", "-o", tmp_path / "printed").code == 0


def test_tokens_of_a_model_that_does_not_ship(cli, tiny_model_dir: Path, stereo_path: Path, shipped: Released) -> None:
    tokens = stereo_path.with_suffix(".svq")
    assert cli("encode", stereo_path, "--model", tiny_model_dir).code == 0
    outcome = cli("decode", tokens)
    made_by = Codec.from_pretrained(tiny_model_dir, "cpu").token_fingerprint
    outcome.must_be_mistake(str(tokens), made_by, f"what ships: {bundled.DEFAULT_MODEL}", "--model DIR")
    assert not stereo_path.with_suffix(".decoded.wav").exists()


def test_info_knows_what_ships(cli, shipped: Released) -> None:
    assert cli("info").out == f"{bundled.DEFAULT_MODEL}: a tiny one\n"
    assert shipped.codec.fingerprint in cli("info", bundled.DEFAULT_MODEL).out


def test_where_none_ships(cli, shipped: Released, stereo_path: Path) -> None:
    (bundled.FOLDER / bundled.INDEX_FILE).write_text('{"models": {}}')
    cli("encode", stereo_path).must_be_mistake("no model of this name ships with this version", "--model DIR")
    assert cli("info").out == ""
