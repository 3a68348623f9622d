from __future__ import annotations

from pathlib import Path

import pytest

import codec.convert


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """Calls of the conversion, which has tests of its own; here it only writes a file."""
    calls: list[tuple[Path, Path]] = []

    def convert(checkpoint: Path, output: Path) -> None:
        calls.append((checkpoint, output))
        output.mkdir(exist_ok=True)
        (output / "config.json").write_text("{}")

    monkeypatch.setattr(codec.convert, "convert_simvq", convert)
    return calls


def test_the_conversion_gets_both_paths(cli, tmp_path: Path, conversions: list[tuple[Path, Path]]) -> None:
    outcome = cli("convert", "simvq", tmp_path / "a.ckpt", "-o", tmp_path / "model")
    assert outcome.code == 0
    assert outcome.out == f"{tmp_path / 'model'}: converted from {tmp_path / 'a.ckpt'}\n"
    assert conversions == [(tmp_path / "a.ckpt", tmp_path / "model")]


def test_an_existing_model_is_kept_without_force(cli, tmp_path: Path, conversions: list[tuple[Path, Path]]) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "config.json").write_text("precious")
    cli("convert", "simvq", "a.ckpt", "-o", output).must_be_mistake("config.json", "exists already", "--force")
    assert (output / "config.json").read_text() == "precious"
    assert not conversions
    assert cli("convert", "simvq", "a.ckpt", "-o", output, "--force").code == 0
    assert conversions == [(Path("a.ckpt"), output)]


def test_a_file_in_the_place_of_the_folder(cli, tmp_path: Path, conversions: list[tuple[Path, Path]]) -> None:
    (tmp_path / "file").touch()
    cli("convert", "simvq", "a.ckpt", "-o", tmp_path / "file").must_be_mistake("file", "choose another place")
    assert not conversions


def test_a_missing_checkpoint(cli, tmp_path: Path) -> None:
    outcome = cli("convert", "simvq", tmp_path / "a.ckpt", "-o", tmp_path / "model")
    outcome.must_be_mistake("a.ckpt", "no such file")
    assert not list(tmp_path.iterdir())


def test_a_text_file_is_no_checkpoint(cli, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_text("no checkpoint")
    outcome = cli("convert", "simvq", tmp_path / "a.ckpt", "-o", tmp_path / "model")
    outcome.must_be_mistake("a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_an_unknown_family(cli) -> None:
    outcome = cli("convert", "mp3", "a.ckpt", "-o", "model")
    assert outcome.code == 2
    assert "mp3" in outcome.err
