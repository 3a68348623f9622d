"""``codec tokens``, and ``codec decode`` of token datasets."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from accelerate import PartialState
from torch import Tensor

import codec.audio as audio_io
from codec import Codec, TokenDataset
from codec.bitstream import Header, write_tokens
from codec.manifest import Utterance
from codec.tokenstore.tokenizing import Options, tokenize


@pytest.fixture
def recording(tmp_path: Path, speech: Tensor) -> Path:
    path = tmp_path / "a b.wav"
    audio_io.write(path, speech[:24_001], 24_000)
    return path


@pytest.fixture
def expected(tiny_codec: Codec, recording: Path) -> list[int]:
    tokens: list[int] = tiny_codec.encode(audio_io.load(recording, 24_000)).tokens[0].tolist()
    assert len(set(tokens)) > 4
    return tokens


@pytest.fixture
def token_file(tmp_path: Path, tiny_codec: Codec, expected: list[int]) -> Path:
    write_tokens(tmp_path / "a.svq", Header(tiny_codec.token_fingerprint, 24_000, 320, 64, 24_001), np.array(expected))
    return tmp_path / "a.svq"


@pytest.fixture
def dataset(tmp_path: Path, tiny_codec: Codec, recording: Path) -> Path:
    utterances = [Utterance(id_, recording, 24_001, 24_000, text="„hm“") for id_ in ("x", "y/ä.1")]
    options = Options("npy", shard_hours=1e-6)
    tokenize(tiny_codec, "tiny", utterances, tmp_path / "dataset", options, state=PartialState(cpu=True))
    return tmp_path / "dataset"


def test_audio_token_files_and_datasets_have_the_same_tokens(
    cli, recording: Path, token_file: Path, dataset: Path, tiny_model_dir: Path, expected: list[int]
) -> None:
    line = " ".join(map(str, expected)) + "\n"
    assert cli("tokens", recording, "--model", tiny_model_dir).out == line
    assert cli("tokens", token_file).out == line
    assert cli("tokens", dataset).out == 2 * line
    assert cli("tokens", dataset / "tokens-00001.npy", token_file).out == 2 * line
    assert cli("tokens", dataset / "tokens-00001.npy", dataset, "--id", "y/ä.1").out == 2 * line
    assert cli("tokens", token_file, "--format", "plain").out == line.replace(" ", "\n")


def test_a_folder_has_those_of_its_files(cli, token_file: Path, tmp_path: Path, expected: list[int]) -> None:
    folder = tmp_path / "mirrored"
    for name in ("x/b.wav.svq", "a.svq"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(token_file, folder / name)
    outcome = cli("tokens", folder, "--format", "json")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [Path(line["id"]) for line in lines] == [folder / "a.svq", folder / "x/b.wav.svq"]
    assert all(line["tokens"] == expected for line in lines)
    (tmp_path / "empty").mkdir()
    outcome = cli("tokens", tmp_path / "empty", folder)
    assert outcome.code == 2 and "no token file below it" in outcome.err
    assert len(outcome.out.splitlines()) == 2  # the others are printed nonetheless


def test_json_has_what_is_known(
    cli, recording: Path, token_file: Path, dataset: Path, tiny_model_dir: Path, tiny_codec: Codec, expected: list[int]
) -> None:
    done = cli("tokens", recording, token_file, dataset, "--model", tiny_model_dir, "--format", "json")
    entries = [json.loads(line) for line in done.out.splitlines()]
    assert [entry["id"] for entry in entries] == [str(recording), str(token_file), "x", "y/ä.1"]
    for entry in entries:
        assert (entry["tokens"], entry["num_samples"], entry["num_tokens"]) == (expected, 24_001, 76)
        assert entry["model"] == tiny_codec.token_fingerprint
    assert entries[2]["text"] == "„hm“"


def test_a_token_file_comes_through_a_pipe(
    cli, token_file: Path, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(token_file.read_bytes()), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert cli("tokens", "-").out == " ".join(map(str, expected)) + "\n"


def test_other_things_in_a_pipe_are_refused_by_its_name(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"hi\n" * 30), isatty=lambda: False))
    cli("tokens", "-").must_be_mistake("error: standard input: not a .svq file")


def test_mistakes(cli, recording: Path, token_file: Path, dataset: Path, tmp_path: Path) -> None:
    cli("tokens", recording, "--model", "none").must_be_mistake("none: no such model folder")
    cli("tokens", dataset, "--id", "z").must_be_mistake("no recording with the id 'z'")
    for path in (recording, token_file, "-"):
        done = cli("tokens", dataset, path, "--id", "x", "--model", tmp_path / "none")
        done.must_be_mistake(str(path), "--id", "leave --id out")
    cli("tokens", tmp_path / "gone.svq").must_be_mistake("gone.svq", "cannot be read")
    token_file.write_bytes(token_file.read_bytes()[:-30])
    cli("tokens", token_file).must_be_mistake("a.svq", "ends early")


def test_a_dataset_is_decoded_whole_or_by_id(
    cli, dataset: Path, tiny_codec: Codec, tiny_model_dir: Path, tmp_path: Path
) -> None:
    audio = tiny_codec.decode(TokenDataset(dataset)[0].encoded())[0, 0].numpy()
    done = cli("decode", dataset, "-o", tmp_path / "x.wav", "--id", "x", "--model", tiny_model_dir)
    assert done.code == 0, done
    found, rate = soundfile.read(tmp_path / "x.wav", dtype="float32")
    assert (rate, len(found)) == (24_000, 24_001)
    np.testing.assert_allclose(found, audio.clip(-1, 1), atol=1e-4)
    done = cli("decode", dataset, "-o", tmp_path / "out", "--model", tiny_model_dir, "--jobs", "2")
    assert done.out.startswith(f"{tmp_path / 'out'}: 2 files, 2.00 s, 152 tokens")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x.wav", "y%2F%C3%A4%2E1.wav"}
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "x.wav").read_bytes()


def test_one_form_becomes_another(cli, token_file: Path, tmp_path: Path) -> None:
    """What the command prints, and decode reads, was no audio that can be read."""
    forms = {form: cli("tokens", token_file, "--format", form).out for form in ("line", "plain", "json")}
    for form, text in forms.items():
        path = tmp_path / f"{form}.txt"
        path.write_text(text)
        assert cli("tokens", path).out == forms["line"]
        assert cli("tokens", path, "--format", "plain").out == forms["plain"]
        (found,) = map(json.loads, cli("tokens", path, "--format", "json").out.splitlines())
        told = json.loads(forms["json"])
        if form != "json":
            told = {"id": "1", "num_tokens": told["num_tokens"], "tokens": told["tokens"]}
        assert found == told
    np.save(tmp_path / "two.npy", np.array([[3, 1], [4, 1]], np.uint16))
    assert cli("tokens", tmp_path / "two.npy", tmp_path / "plain.txt").out == f"3 1\n4 1\n{forms['line']}"
    (tmp_path / "bad.txt").write_text("1 2\nx\n")
    cli("tokens", tmp_path / "bad.txt").must_be_mistake("bad.txt: line 2: 'x' is no token")


def test_one_recording_of_a_folder_of_token_files(
    cli, recording: Path, token_file: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / "x").mkdir(parents=True)
    shutil.copy(token_file, folder / "x" / "a.wav.svq")
    shutil.copy(token_file, folder / "b.svq")
    (line,) = map(json.loads, cli("tokens", folder, "--id", "x/a.wav", "--format", "json").out.splitlines())
    assert line["id"] == "x/a.wav" and line["num_samples"] == 24_001
    assert cli("tokens", folder, "--id", "b").out == cli("tokens", token_file).out
    model = ("--model", tiny_model_dir)
    assert cli("decode", folder, "--id", "x/a.wav", "-o", tmp_path / "one.wav", *model).code == 0
    assert cli("decode", token_file, "-o", tmp_path / "two.wav", *model).code == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    for command in (("tokens",), ("decode", *model, "-o", tmp_path / "none.wav")):
        cli(*command, folder, "--id", "a").must_be_mistake("no recording with the id 'a'", "paths below it")


def test_mistakes_of_decoding_datasets(
    cli, dataset: Path, token_file: Path, tiny_codec: Codec, tiny_model_dir: Path, tmp_path: Path
) -> None:
    model, output = ("--model", tiny_model_dir), ("-o", tmp_path / "x.wav")
    cli("decode", dataset, *model).must_be_mistake("token dataset", "give a place for its audio with -o")
    for which in ((), ("--id", "x")):
        cli("decode", dataset, *model, *which, "-o", "-").must_be_mistake("goes into files", "another place than -")
    cli("decode", dataset, *model, *output, "--id", "z").must_be_mistake("no recording with the id 'z'")
    cli("decode", token_file, *model, *output, "--id", "x").must_be_mistake("--id", "leave --id out")
    for option in (("--batch", 10), ("--compile",), ("--partial",)):
        done = cli("decode", dataset, *model, *output, "--id", "x", *option)
        done.must_be_mistake(str(dataset), "token dataset", f"leave {option[0]} out")
    tiny_codec.encoder.stem.conv.bias.data.add_(1)
    tiny_codec.save_pretrained(tmp_path / "other")
    done = cli("decode", dataset, "--model", tmp_path / "other", *output, "--id", "x")
    done.must_be_mistake(str(dataset), "made by encoder", "decode with the model that encoded it")
    assert not (tmp_path / "x.wav").exists()


def test_info_of_a_dataset(cli, dataset: Path, tiny_codec: Codec, expected: list[int]) -> None:
    outcome = cli("info", dataset)
    assert outcome.code == 0 and cli("info", dataset / "tokens-00001.npy").out == outcome.out
    title, *lines = outcome.out.splitlines()
    assert title == f"{dataset}: token dataset"
    facts = {name: value.strip() for name, value in (line.strip().split("  ", 1) for line in lines)}
    assert facts["encoder"] == f"{tiny_codec.token_fingerprint} (of tiny)"
    assert facts["codebook"] == f"64 codes, {len(set(expected))} used"
    assert (facts["recordings"], facts["tokens"], facts["shards"]) == ("2, 0.00 h", str(2 * len(expected)), "2, npy")


def test_one_that_cannot_be_read_does_not_keep_the_others_from_being_printed(
    cli, token_file: Path, tmp_path: Path, expected: list[int]
) -> None:
    line = " ".join(map(str, expected)) + "\n"
    gone = tmp_path / "gone.svq"
    for files in ((gone, token_file, gone), (token_file, gone)):
        done = cli("tokens", *files)
        assert (done.code, done.out) == (2, line)
        assert done.err.count("gone.svq: cannot be read") == done.err.count("\n") == files.count(gone)
    wave = tmp_path / "a b.wav"
    cli("tokens", wave, wave, "--model", "none").must_be_mistake("none: no such model folder")  # said once
