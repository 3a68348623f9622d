from __future__ import annotations

from pathlib import Path

from codec import Codec, bundled
from codec.releasing import Released


def test_a_dry_run_writes_what_would_be_sent(cli, tmp_path: Path, tiny_model_dir: Path) -> None:
    command = ("push", tiny_model_dir, "someone/codec", "--licence", "mit", "--dry-run", tmp_path / "out")
    assert cli(*command).out == f"{tmp_path / 'out'}: what would be sent to someone/codec\n"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "SHA256SUMS", "config.json", "model.safetensors"]
    cli(*command).must_be_mistake("README.md: exists already")
    cli("push", tiny_model_dir, "nobody", "--dry-run", tmp_path / "x").must_be_mistake("expected owner/name")


def test_a_model_that_ships_is_taken_by_its_name(cli, tmp_path: Path, monkeypatch, shipped: Released) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("push", bundled.DEFAULT_MODEL, "someone/codec", "--dry-run")
    assert cli(*command, tmp_path / "out").code == 0
    assert Codec.from_pretrained(tmp_path / "out", "cpu").fingerprint == shipped.codec.fingerprint
    before = {path.name: path.read_bytes() for path in shipped.folder.iterdir()}
    cli(*command, shipped.folder, "--force").must_be_mistake("is the model's own folder")
    assert {path.name: path.read_bytes() for path in shipped.folder.iterdir()} == before
    cli("push", "simvq-24khz", "someone/codec", "--dry-run", tmp_path / "x").must_be_mistake("no such model folder")
