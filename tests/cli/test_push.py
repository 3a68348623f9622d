from __future__ import annotations

from pathlib import Path


def test_a_dry_run_writes_what_would_be_sent(cli, tmp_path: Path, tiny_model_dir: Path) -> None:
    command = ("push", tiny_model_dir, "someone/codec", "--licence", "mit", "--dry-run", tmp_path / "out")
    assert cli(*command).out == f"{tmp_path / 'out'}: what would be sent to someone/codec\n"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "SHA256SUMS", "config.json", "model.safetensors"]
    cli(*command).must_be_mistake("README.md: exists already")
    cli("push", tiny_model_dir, "nobody", "--dry-run", tmp_path / "x").must_be_mistake("expected owner/name")
