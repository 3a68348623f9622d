"""The command for a folder of any recordings."""

from __future__ import annotations

import importlib
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
