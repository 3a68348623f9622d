"""The command for a folder of any recordings."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from codec.cli import run
from codec.manifest import read_manifest

ROOT = Path(__file__).parents[2]
MINI = ROOT / "egs" / "mini" / "corpus"


def prepare(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    with pytest.raises(SystemExit) as ended:
        run(importlib.import_module("prepare_folder").app, [str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_two_manifests_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(monkeypatch, MINI / "train-mini", "-o", tmp_path, "--held-out", "0.3") == 0
    train, dev = (read_manifest(tmp_path / f"{split}.jsonl") for split in ("train", "dev"))
    assert len(train) + len(dev) == 132
    assert not {u.speaker for u in train} & {u.speaker for u in dev}
    assert f"manifests in {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nowhere"], ["{mini}", "--held-out", "2"], ["{mini}/speakers.tsv"]])
def test_a_mistake_gives_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    filled = [argument.replace("{mini}", str(MINI)) for argument in arguments]
    assert prepare(monkeypatch, *filled, "-o", tmp_path / "data") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes, at most 255 of them")
def test_names_that_are_long_or_no_text_cost_no_other_recording(
    tmp_path: Path, speech_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    long = "x" * 250
    for name in ("a.flac", f"{long}.flac", os.fsdecode(b"bad\xff.flac")):
        shutil.copy(speech_path, folder / name)
    assert prepare(monkeypatch, folder, "-o", tmp_path / "out", "--held-out", "0.000001") in (0, 2)
    assert prepare(monkeypatch, folder, "-o", tmp_path / "out") == 0
    assert sorted(u.id for u in read_manifest(tmp_path / "out" / "train.jsonl")) == ["a", long]
    assert "bad\\udcff.flac: the name is no UTF-8" in capsys.readouterr().err
    assert prepare(monkeypatch, folder, "-o", tmp_path / "out") == 0  # up to date
