"""``codec decode`` of what ``codec tokens`` prints, and of arrays."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import codec.audio as audio_io
from codec import Codec


@pytest.fixture
def token_file(cli, tmp_path: Path, speech: Tensor, tiny_model_dir: Path) -> Path:
    """``a.svq``, and ``expected.wav``, which codec decode makes of it; 3,001 samples in 10 frames."""
    audio_io.write(tmp_path / "a.wav", speech[:3_001], 24_000)
    cli("encode", tmp_path / "a.wav", "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    cli("decode", tmp_path / "a.svq", "-o", tmp_path / "expected.wav", "--model", tiny_model_dir)
    (tmp_path / "a.wav").unlink()
    return tmp_path / "a.svq"


@pytest.fixture
def model(tiny_model_dir: Path) -> tuple[str, Path]:
    return "--model", tiny_model_dir


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch):
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))


def samples(path: Path) -> np.ndarray:
    return audio_io.read(path)[0][0].numpy()


@pytest.mark.parametrize("form", ["json", "line", "plain"])
@pytest.mark.parametrize("piped", [False, True])
def test_what_codec_tokens_prints_comes_back(
    cli, feed, token_file: Path, tmp_path: Path, model, form: str, piped: bool
) -> None:
    printed = cli("tokens", token_file, "--format", form).out.encode()
    (tmp_path / "t").write_bytes(printed)
    feed(printed)
    done = cli("decode", "-" if piped else tmp_path / "t", "-o", tmp_path / "back.wav", *model)
    assert done.code == 0, done
    back, expected = samples(tmp_path / "back.wav"), samples(tmp_path / "expected.wav")
    assert len(expected) == 3_001 and len(back) == (3_001 if form == "json" else 3_200)  # text tells no length
    assert np.array_equal(back[:3_001], expected)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16])
@pytest.mark.parametrize("piped", [False, True])
def test_arrays_of_tokens(cli, feed, token_file: Path, tmp_path: Path, model, dtype, piped: bool) -> None:
    tokens = np.array([int(word) for word in cli("tokens", token_file).out.split()], dtype)
    np.save(tmp_path / "t.npy", tokens)
    feed((tmp_path / "t.npy").read_bytes())
    source = "-" if piped else tmp_path / "t.npy"
    assert cli("decode", source, "-o", tmp_path / "back.wav", *model).code == 0
    assert np.array_equal(samples(tmp_path / "back.wav")[:3_001], samples(tmp_path / "expected.wav"))
    np.save(tmp_path / "t.npy", np.stack([tokens, tokens[::-1]]))
    feed((tmp_path / "t.npy").read_bytes())
    assert cli("decode", source, "-o", tmp_path / "out", *model).code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.wav", "2.wav"]
    assert np.array_equal(samples(tmp_path / "out" / "1.wav"), samples(tmp_path / "back.wav"))
    assert not np.array_equal(samples(tmp_path / "out" / "2.wav"), samples(tmp_path / "back.wav"))


def test_several_recordings_become_files_by_their_ids(cli, feed, token_file: Path, tmp_path: Path, model) -> None:
    (tmp_path / "x").mkdir()
    shutil.copy(token_file, tmp_path / "x" / "b.svq")
    printed = cli("tokens", token_file, tmp_path / "x" / "b.svq", "--format", "json").out
    printed += json.dumps({**json.loads(printed.splitlines()[0]), "id": "spk/1.2"}) + "\n"
    feed(printed.encode())
    done = cli("decode", "-", "-o", tmp_path / "out", *model)
    assert (done.code, done.out.split(",")[0]) == (0, f"{tmp_path / 'out'}: 3 files")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.wav", "b.wav", "spk%2F1%2E2.wav"}
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "expected.wav").read_bytes()
    feed(printed.encode())
    assert cli("decode", "-", "-o", tmp_path / "one.wav", "--id", "spk/1.2", *model).code == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "expected.wav").read_bytes()
    feed(printed.splitlines()[0].encode())  # one goes into a folder as several do
    assert cli("decode", "-", "-o", tmp_path / "single", *model).code == 0
    assert [path.name for path in (tmp_path / "single").iterdir()] == ["a.wav"]


def test_lines_of_text_are_numbered_so_that_names_sort(cli, tmp_path: Path, model) -> None:
    (tmp_path / "t.txt").write_text("1 2 3\n" + "4\n" * 9)
    assert cli("decode", tmp_path / "t.txt", "-o", tmp_path / "out", *model).code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:02}.wav" for n in range(1, 11)]
    assert len(samples(tmp_path / "out" / "01.wav")) == 960
    (tmp_path / "t.txt").write_text("4\n" * 9)  # a token a line is one recording
    assert cli("decode", tmp_path / "t.txt", *model).code == 0
    assert len(samples(tmp_path / "t.decoded.wav")) == 9 * 320


def test_the_fingerprint_is_compared_and_finds_the_model_that_ships(
    cli, token_file: Path, tmp_path: Path, tiny_codec: Codec, model
) -> None:
    (tmp_path / "t.jsonl").write_text(cli("tokens", token_file, "--format", "json").out)
    made_by = tiny_codec.token_fingerprint
    with torch.no_grad():
        next(tiny_codec.parameters()).add_(1e-3)
    tiny_codec.save_pretrained(tmp_path / "other")
    done = cli("decode", tmp_path / "t.jsonl", "--model", tmp_path / "other")
    done.must_be_mistake("t.jsonl: made by encoder", made_by, "decode with the model that encoded it")
    done = cli("decode", tmp_path / "t.jsonl")
    done.must_be_mistake(f"made by encoder {made_by}, which does not ship", "--model")
    assert not (tmp_path / "t.decoded.wav").exists()


def test_a_model_that_ships_needs_no_name(cli, shipped, speech_path: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(cli("tokens", speech_path, "--format", "json").out)
    assert cli("decode", tmp_path / "t.jsonl").code == 0
    assert len(samples(tmp_path / "t.decoded.wav")) == audio_io.info(speech_path).num_samples


def line(**facts: object) -> str:
    return json.dumps({"tokens": [1, 2], **facts})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("1 2 64\n", ("t: line 1", "from 1 to 64", "codebook has 64 codes")),
        ("1 2\n3 -1\n", ("t: line 2: tokens from -1 to 3",)),
        ("1 2\n\n3 4\n", ("t: line 2: no tokens", "leave the line out")),
        ("1 2\n3 x4\n", ("t: line 2: 'x4' is no token", "codec tokens")),
        ("1 1_0\n", ("'1_0' is no token",)),
        ("1 2.0\n", ("'2.0' is no token",)),
        ("1 9999999999\n", ("tokens from 1 to 9999999999",)),
        (line() + "\n" + line()[:-1], ("t: line 2: not JSON",)),
        ("[1, 2]", ("t: line 1: expected an object",)),
        ('{"id": "x"}', ("t: line 1: expected an object with",)),
        (line(tokens=[]), ("t: line 1: no tokens",)),
        (line(tokens="1 2"), ("tokens='1 2': expected a list",)),
        (line(tokens=[1, 2.0]), ("2.0 is no token",)),
        (line(tokens=[True]), ("True is no token",)),
        (line(tokens=[1, 64]), ("from 1 to 64",)),
        (line(tokens=[1, 10**30]), ("from 1 to 1000",)),
        (line(num_samples=960), ("num_samples=960 with 2 tokens: expected 3 of 320 samples",)),
        (line(num_samples=0), ("num_samples=0: expected 1 or more",)),
        (line(num_tokens=3), ("num_tokens=3, but 2 tokens",)),
        (line(id=3), ("id=3: expected a name",)),
        (line(id="a\0"), ("expected a name",)),
        (line(model="tiny"), ("model='tiny': expected a fingerprint",)),
        (line(model="0" * 16) + "\n" + line(model="1" * 16), ("t: line 2: made by encoder 1111", "t: line 1 by 0000")),
        (line(model="0" * 16), ("made by encoder 0000000000000000, but",)),
    ],
)
def test_mistakes_are_named_by_line_and_nothing_is_written(
    cli, tmp_path: Path, model, content: str, says: tuple[str, ...]
) -> None:
    (tmp_path / "t").write_text(content)
    cli("decode", tmp_path / "t", "-o", tmp_path / "out", *model).must_be_mistake(*says)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "t"]


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(3), "an array of shape (3,) and type float64: expected integers"),
        (np.zeros((1, 1, 3), np.int64), "an array of shape (1, 1, 3)"),
        (np.zeros(0, np.int64), "no tokens"),
        (np.zeros((0, 4), np.int64), "an array of shape (0, 4) has no tokens"),
        (np.zeros((2, 0), np.int64), "row 1: no tokens"),
        (np.array([1, 64]), "from 1 to 64: this model's codebook has 64 codes"),
        (np.array([1, -2]), "tokens from -2 to 1"),
        (np.array([True]), "type bool"),
        (np.array([{}], object), "no array that can be read"),
    ],
)
def test_arrays_that_are_no_tokens(cli, tmp_path: Path, model, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "t.npy", array, allow_pickle=True)
    cli("decode", tmp_path / "t.npy", *model).must_be_mistake("t.npy: ", says)
    (tmp_path / "t.npy").write_bytes((tmp_path / "t.npy").read_bytes()[:100])
    cli("decode", tmp_path / "t.npy", *model).must_be_mistake("t.npy: no array that can be read")


@pytest.mark.parametrize("shape", ["(99999999999999999999999,)", "(True,)"])
def test_headers_of_arrays_that_lie(cli, tmp_path: Path, model, shape: str) -> None:
    np.save(tmp_path / "t.npy", np.arange(9))
    content = (tmp_path / "t.npy").read_bytes()
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    (tmp_path / "t.npy").write_bytes(content[:10] + header.ljust(117) + b"\n" + content[128:])
    cli("decode", tmp_path / "t.npy", *model).must_be_mistake("t.npy: no array that can be read")


def test_a_column_of_numbers_is_one_recording_and_nothing_else(cli, tmp_path: Path, model) -> None:
    for text, samples_of in (("4\n" * 9, {"t.decoded": 9}), ("4\n" * 3 + "5 6\n4\n", {"1": 1, "4": 2, "5": 1})):
        (tmp_path / "t.txt").write_text(text)
        several = len(samples_of) > 1
        where = tmp_path / "many" if several else tmp_path / "t.decoded.wav"
        assert cli("decode", tmp_path / "t.txt", "-o", where, *model).code == 0
        for name, frames in samples_of.items():
            path = where / f"{name}.wav" if several else where
            assert audio_io.info(path).num_samples == 320 * frames
    (tmp_path / "t.txt").write_text("4\n" * 3 + "64\n")
    cli("decode", tmp_path / "t.txt", "-o", tmp_path / "no.wav", *model).must_be_mistake("64")


def test_equal_names_in_other_folders_are_told_apart(cli, token_file: Path, tmp_path: Path, model) -> None:
    for name in ("x/a.wav.svq", "y/z/a.wav.svq"):
        (tmp_path / "made" / name).parent.mkdir(parents=True)
        shutil.copy(token_file, tmp_path / "made" / name)
    (tmp_path / "t.jsonl").write_text(cli("tokens", tmp_path / "made", "--format", "json").out)
    assert cli("decode", tmp_path / "t.jsonl", "-o", tmp_path / "out", *model).code == 0
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.wav"))
    assert found == ["x/a.wav", "y/z/a.wav"]


def test_no_id_leads_out_of_the_folder(cli, tmp_path: Path, model) -> None:
    ids = ("../x/a.wav", "../y/a.wav", "../../a.wav", "/etc/a.wav", "a.wav")
    for some in (ids[:2], ids[:3], ids[2:], ids):
        (tmp_path / "t.jsonl").write_text("".join(line(id=one) + "\n" for one in some))
        cli("decode", tmp_path / "t.jsonl", "-o", tmp_path / "in" / "out", *model, "--force")
    made = [path for path in tmp_path.rglob("*.wav") if not path.is_relative_to(tmp_path / "in" / "out")]
    assert made == []


def test_a_pipe_is_not_waited_for_where_the_output_is_refused(
    cli, tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError("read from the pipe")

    monkeypatch.setattr("codec.files.standard_input", never)
    (tmp_path / "there.wav").write_text("precious")
    cli("decode", "-", "-o", tmp_path / "there.wav", *model).must_be_mistake("exists already", "--force")
    cli("decode", "-", "-o", tmp_path / "x.mp4", *model).must_be_mistake("x.mp4")


def test_places_that_cannot_be_meant(cli, tmp_path: Path, model) -> None:
    source = tmp_path / "x.wav"  # by whatever name
    source.write_text(line(id="y/x.wav") + "\n" + line() + "\n")
    many = "x.wav: holds 2 recordings"
    cli("decode", source, *model).must_be_mistake(many, "give a folder for their audio with -o, or --id")
    cli("decode", source, "-o", "-", *model).must_be_mistake(many, "give a folder")
    cli("decode", source, "-o", tmp_path / "y.flac", *model).must_be_mistake(many, "is one file")
    cli("decode", source, "-o", tmp_path, *model, "--force").must_be_mistake("x.wav: is the file that is read")
    cli("decode", source, "-o", tmp_path, "--id", "2").must_be_mistake("does not tell which model", "--model")
    cli("decode", source, "-o", tmp_path, "--id", "z", *model).must_be_mistake(
        "no recording with the id 'z'", "y/x.wav"
    )
    for option in (("--batch", 10), ("--partial",)):
        done = cli("decode", source, "-o", tmp_path / "out", *option, *model)
        done.must_be_mistake(option[0], "list of tokens", f"leave {option[0]} out")
    for other in ("./y/x.wav", "y/x.svq"):
        source.write_text(line(id="y/x.wav") + "\n" + line(id=other))
        done = cli("decode", source, "-o", tmp_path / "out", *model)
        done.must_be_mistake("x.wav: line 2 and", "line 1 would both become", "give them different ids")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "x.wav"]


def test_existing_files_stay(cli, tmp_path: Path, model) -> None:
    (tmp_path / "t.txt").write_text("1 2 3\n")
    (tmp_path / "t.decoded.wav").write_text("precious")
    cli("decode", tmp_path / "t.txt", *model).must_be_mistake("exists already", "--force")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.wav").write_text("precious")
    done = cli("decode", tmp_path / "t.txt", "-o", tmp_path / "out", *model)
    assert done.code == 0 and "1 were there already (--force makes them again)" in done.out
    assert (tmp_path / "out" / "1.wav").read_text() == (tmp_path / "t.decoded.wav").read_text() == "precious"
