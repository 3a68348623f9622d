"""Several files in one call, as ``codec encode *.wav`` gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from codec.audio import info, load
from codec.bitstream import read_tokens


@pytest.fixture
def recordings(tmp_path: Path, speech_path: Path) -> list[Path]:
    """Three recordings of different lengths in two folders."""
    paths = [tmp_path / name for name in ("x/a.wav", "x/b.flac", "y/c.wav")]
    for index, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        samples, _ = soundfile.read(speech_path, start=1000 * index, frames=9_000 + 300 * index)
        soundfile.write(path, samples, 24_000)
    return paths


@pytest.fixture
def model(tiny_model_dir: Path) -> tuple[object, ...]:
    return ("--model", tiny_model_dir, "--device", "cpu")


@pytest.mark.parametrize("options", [(), ("--jobs", 2), ("--batch", 60)], ids=str)
def test_into_a_folder_and_back(
    cli, tmp_path: Path, recordings: list[Path], model: tuple[object, ...], options: tuple[object, ...]
) -> None:
    encoded = cli("encode", *recordings, "-o", tmp_path / "tokens", *model, *options)
    assert (encoded.code, encoded.err) == (0, "")
    assert encoded.out.startswith(f"{tmp_path / 'tokens'}: 3 files, 1.16 s, ")
    tokens = [tmp_path / "tokens" / name for name in ("a.wav.svq", "b.flac.svq", "c.wav.svq")]
    assert sorted((tmp_path / "tokens").iterdir()) == tokens
    for source, made in zip(recordings, tokens, strict=True):
        alone = made.with_name("alone.svq")
        assert cli("encode", source, "-o", alone, *model).code == 0
        assert made.read_bytes() == alone.read_bytes()
        alone.unlink()

    decoded = cli("decode", *tokens, "-o", tmp_path / "back", *model, *options)
    assert (decoded.code, decoded.err) == (0, "")
    for source in recordings:
        assert info(tmp_path / "back" / source.name).num_samples == info(source).num_samples


def test_without_a_folder_each_beside_itself(cli, recordings: list[Path], model: tuple[object, ...]) -> None:
    encoded = cli("encode", *recordings, *model)
    assert encoded.code == 0 and encoded.out.startswith("3 files, 1.16 s, ")
    tokens = [path.with_suffix(".svq") for path in recordings]
    assert all(read_tokens(path).is_whole for path in tokens)
    made = [path.stat().st_mtime_ns for path in tokens]
    again = cli("encode", *recordings, *model)
    assert again.code == 0 and again.out == "0 files; 3 were there already (--force makes them again)\n"
    assert [path.stat().st_mtime_ns for path in tokens] == made

    before = [path.read_bytes() for path in recordings]
    assert cli("decode", *tokens, *model).code == 0
    for path in tokens:
        assert len(load(path.with_suffix(".decoded.wav"), 24_000)) == read_tokens(path).num_samples
    assert [path.read_bytes() for path in recordings] == before


def test_one_file_into_a_folder_that_is_there(
    cli, tmp_path: Path, recordings: list[Path], model: tuple[object, ...]
) -> None:
    """What ``*.wav`` finds may be one file; it goes where several would go."""
    (tmp_path / "out").mkdir()
    assert cli("encode", recordings[0], "-o", tmp_path / "out", *model).code == 0
    assert cli("decode", tmp_path / "out" / "a.wav.svq", "-o", tmp_path / "out", *model).code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.wav", "a.wav.svq"]


def test_one_that_cannot_be_read_is_reported_and_the_rest_goes_on(
    cli, tmp_path: Path, recordings: list[Path], model: tuple[object, ...]
) -> None:
    recordings[0].write_text("no audio")
    outcome = cli("encode", *recordings, tmp_path / "missing.wav", "-o", tmp_path / "tokens", *model)
    assert outcome.code == 2 and ": 2 files, " in outcome.out and outcome.out.endswith("; 2 failed\n")
    assert str(recordings[0]) in outcome.err and "missing.wav" in outcome.err
    assert len(list((tmp_path / "tokens").iterdir())) == 2


def test_tokens_of_another_model_are_not_kept_among_them(
    cli, tmp_path: Path, recordings: list[Path], model: tuple[object, ...]
) -> None:
    assert cli("encode", *recordings, "-o", tmp_path / "tokens").code == 0  # by the model that ships
    outcome = cli("encode", *recordings, "-o", tmp_path / "tokens", *model)
    outcome.must_be_mistake("a.wav.svq (and 2 more): is there already, made by encoder")


def test_mistakes(cli, tmp_path: Path, recordings: list[Path], model: tuple[object, ...]) -> None:
    a, b, c = recordings

    def refused(*args: object) -> None:
        *arguments, parts = args
        cli(*arguments, *model).must_be_mistake(*parts)

    refused("encode", a, tmp_path / "y", ("y: is a folder, given beside 1 others; give a folder by itself",))
    refused("encode", a, "-", ("-: standard input, given beside 1 others",))
    refused("encode", a, b, "-o", "-", ("2 files need a folder for the output",))
    refused("encode", a, b, "-o", c, (f"{c}: is a file; 2 files need a folder",))
    (tmp_path / "x" / "a.flac").write_bytes(b.read_bytes())
    refused("encode", a, tmp_path / "x" / "a.flac", ("a.flac and", "would both become", "a.svq"))
    assert not (tmp_path / "x" / "a.svq").exists()

    assert cli("encode", a, c, "-o", tmp_path / "tokens", *model).code == 0
    svq = tmp_path / "tokens" / "a.wav.svq"
    refused("encode", c, svq, "-o", tmp_path / "t", (f"{svq}: holds tokens already",))
    printed = tmp_path / "printed.txt"
    printed.write_text(cli("tokens", svq).out)
    refused("decode", svq, printed, ("printed.txt: is no .svq file, given beside 1 others; give it by itself",))
    assert not (tmp_path / "t").exists()


def test_a_recording_whose_name_ends_like_tokens_is_never_replaced(
    cli, recordings: list[Path], model: tuple[object, ...]
) -> None:
    a, b, _ = recordings
    disguised = a.with_suffix(".svq")
    disguised.write_bytes(b.read_bytes())
    outcome = cli("encode", a, disguised, *model, "--force")
    outcome.must_be_mistake("would both become")
    outcome = cli("encode", b, disguised, *model, "--force")
    outcome.must_be_mistake("a.svq: is one of the files that are read, which stay as they are")
    assert disguised.read_bytes() == b.read_bytes()
