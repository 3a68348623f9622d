"""Models that ship: how they are made, found and checked; and what does ship."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from pesq import pesq
from safetensors.torch import load_file
from torch import Tensor

from codec import Codec, CodecError, audio, bundled
from codec.pretrained import PARTS, check_sums, find_model, weight_files
from codec.releasing import Released, release

REAL = bundled.bundled_models()  # before any test puts another folder in its place


def test_half_precision_loads_as_float32_under_its_name(shipped: Released, tiny_codec: Codec) -> None:
    stored = load_file(shipped.folder / "model.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    codec = Codec.from_pretrained(bundled.DEFAULT_MODEL, "cpu")
    assert codec.fingerprint == shipped.codec.fingerprint == bundled.default_model().fingerprint
    assert codec.fingerprint != tiny_codec.fingerprint
    for name, value in codec.state_dict().items():
        assert value.dtype == tiny_codec.state_dict()[name].dtype
        torch.testing.assert_close(value, tiny_codec.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_the_tokens_that_precision_changes_are_counted(shipped: Released, tiny_codec: Codec, speech_path: Path) -> None:
    speech = audio.load(speech_path, 24_000)
    one, other = (codec.encode(speech).tokens for codec in (tiny_codec, shipped.codec))
    assert (shipped.tokens, shipped.equal) == (one.numel(), int((one == other).sum()))
    assert f"{shipped.equal / shipped.tokens:.2%} of {shipped.tokens:,} tokens" in card_of(shipped)


def test_the_card_and_the_settings_say_how_it_was_made(shipped: Released) -> None:
    card = card_of(shipped)
    for says in (
        "900 steps of 4 crops of 2 s: 2.0 hours of audio heard",
        "| Training time | 10 minutes |",
        "| Training data | train-mini |",
        f"recipes/train.py --config codec/bundled/{bundled.DEFAULT_MODEL}/config.yaml",
        f'Codec.from_pretrained("{bundled.DEFAULT_MODEL}")',
    ):
        assert says in card, says
    assert "data/train-mini.jsonl" in (shipped.folder / "config.yaml").read_text()
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=shipped.folder, check=True)


def card_of(released: Released) -> str:
    return (released.folder / "README.md").read_text(encoding="utf-8")


def test_large_weights_are_split_and_found_again(shipped: Released, tiny_run: Path, speech_path: Path) -> None:
    parts = release(tiny_run / "best", "parts", [speech_path], description="", largest_file=20_000)
    files = sorted(path.name for path in parts.folder.glob(PARTS))
    assert len(files) > 1 and weight_files(parts.folder)[1:] == files
    assert not (parts.folder / "model.safetensors").exists()
    assert Codec.from_pretrained("parts", "cpu").fingerprint == shipped.codec.fingerprint
    (parts.folder / files[0]).unlink()
    with pytest.raises(CodecError, match=f"{files[0]}: no such file"):
        Codec.from_pretrained("parts", "cpu")
    index = parts.folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../model-1-of-1.safetensors"}}))
    with pytest.raises(CodecError, match="tells of no files"):
        weight_files(parts.folder)
    parts.codec.save_pretrained(parts.folder)  # one file in their place
    assert weight_files(parts.folder) == ["model.safetensors"] and not list(parts.folder.glob(PARTS))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "SHA256SUMS"])
def test_a_changed_file_is_refused(shipped: Released, name: str) -> None:
    data = bytearray((shipped.folder / name).read_bytes())
    data[-2] ^= 1
    (shipped.folder / name).write_bytes(data)
    with pytest.raises(CodecError, match=rf"{name}.*SHA-256 differs"):
        Codec.from_pretrained(bundled.DEFAULT_MODEL, "cpu")
    (shipped.folder / "SHA256SUMS").unlink()  # a model that ships always has them
    with pytest.raises(CodecError, match="is missing; install the package again"):
        Codec.from_pretrained(bundled.DEFAULT_MODEL, "cpu")


def test_a_folder_of_that_name_comes_first(
    shipped: Released, tiny_codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_codec.save_pretrained(bundled.DEFAULT_MODEL)
    assert find_model(bundled.DEFAULT_MODEL) == Path(bundled.DEFAULT_MODEL)
    assert bundled.default_model().folder == shipped.folder  # what the command line takes by itself


def test_an_unknown_name_gets_the_nearest(shipped: Released) -> None:
    with pytest.raises(CodecError, match=rf"did you mean {bundled.DEFAULT_MODEL}\?"):
        Codec.from_pretrained("simvq-24kHz-0.9kbit")
    with pytest.raises(CodecError, match=f"models that ship: {bundled.DEFAULT_MODEL}; train one"):
        Codec.from_pretrained("unlike")
    with pytest.raises(CodecError, match="has no revision 'v1'"):
        find_model(bundled.DEFAULT_MODEL, "v1")


def test_another_release_replaces_the_first_and_leaves_the_rest(
    shipped: Released, tiny_run: Path, speech_path: Path
) -> None:
    release(tiny_run / "best", "other", [speech_path], description="another")
    codec = Codec.from_pretrained(tiny_run / "best", "cpu")
    codec.decoder.head.out.bias.data += 1
    codec.save_pretrained(tiny_run / "best")
    second = release(tiny_run / "best", bundled.DEFAULT_MODEL, [speech_path], description="a second")
    assert second.codec.fingerprint != shipped.codec.fingerprint
    models = bundled.bundled_models()
    assert [*models] == ["other", bundled.DEFAULT_MODEL]
    assert models["other"].fingerprint == shipped.codec.fingerprint
    assert Codec.from_pretrained(bundled.DEFAULT_MODEL, "cpu").fingerprint == second.codec.fingerprint


def test_what_cannot_be_released_leaves_what_ships(
    shipped: Released, tiny_run: Path, speech_path: Path, tmp_path: Path
) -> None:
    def attempt(model: Path = tiny_run / "best", name: str = bundled.DEFAULT_MODEL, **options: object) -> None:
        release(model, name, options.pop("speech", [speech_path]), description="", **options)  # type: ignore[arg-type]

    before = {path.name: path.read_bytes() for path in shipped.folder.iterdir()}
    with pytest.raises(CodecError, match="not a name for a model"):
        attempt(name="../outside")
    with pytest.raises(CodecError, match="no speech"):
        attempt(speech=[])
    with pytest.raises(CodecError, match="cannot read the notes"):
        attempt(notes=tmp_path / "none.md")
    with pytest.raises(CodecError, match="cannot be read"):
        attempt(evaluation=tmp_path)
    codec = Codec.from_pretrained(tiny_run / "best", "cpu")
    codec.save_pretrained(tmp_path / "alone" / "model")
    with pytest.raises(CodecError, match="lies in no run folder"):
        attempt(tmp_path / "alone" / "model")
    codec.decoder.head.out.bias.data += 1e6
    codec.save_pretrained(tiny_run / "best")
    with pytest.raises(CodecError, match="beyond what half precision holds"):
        attempt()
    assert {path.name: path.read_bytes() for path in shipped.folder.iterdir()} == before
    assert [path.name for path in bundled.FOLDER.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_index_is_named(shipped: Released) -> None:
    (bundled.FOLDER / bundled.INDEX_FILE).write_text('{"models": {"a": 1}}')
    with pytest.raises(CodecError, match="no list of the models that ship"):
        find_model("anything")


# -- what does ship -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_what_ships_is_whole_small_and_described(name: str) -> None:
    model = REAL[name]
    check_sums(model.folder)
    sizes = [(model.folder / file).stat().st_size for file in weight_files(model.folder)]
    assert sum(sizes) <= 40_000_000 and max(sizes) <= 17 * 2**20
    codec = Codec.from_pretrained(name, "cpu")
    assert codec.fingerprint == model.fingerprint
    card = (model.folder / "README.md").read_text(encoding="utf-8")
    for heading in ("## Scores", "## Training data", "## Credits", "## Limits", "## How it was made"):
        assert heading in card, heading
    assert "None were given" not in card and model.fingerprint in card and "license: unknown" not in card
    assert not any(f'"{root}/' in card or f" {root}/" in card for root in ("/home", "/work", "/root", "/tmp"))


def test_speech_through_the_shipped_model_is_speech(speech: Tensor) -> None:
    codec = Codec.from_pretrained(bundled.DEFAULT_MODEL, "cpu")
    assert (codec.sample_rate, codec.frame_rate, codec.codebook_size, codec.bitrate_bps) == (24_000, 75, 4096, 900)
    tokens = codec.encode(speech)
    assert tokens.tokens.unique().numel() > 75  # of 150: more than half are different codes
    back = codec.decode(tokens)[0, 0]
    reference, decoded = (audio.resample(samples, 24_000, 16_000).numpy() for samples in (speech, back))
    assert pesq(16_000, reference, decoded, "wb") > 1.2  # noise and other speech score 1.02 to 1.1
