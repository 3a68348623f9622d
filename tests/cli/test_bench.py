"""What becomes of the numbers of ``codec bench``."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codec.benchmarking import runner
from codec.files import replacing

CASE = ("--stage", "search", "--size", "tiny", "--codebook", 64, "--seconds", 0.1, "--threads", 1, "--runs", 1)


def test_the_place_is_looked_at_before_anything_is_timed(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> Iterator[dict[str, Any]]:
        raise AssertionError("timed in vain")

    monkeypatch.setattr(runner, "run_cases", never)
    (tmp_path / "file").write_text("")
    cli("bench", *CASE, "-o", tmp_path).must_be_mistake(f"{tmp_path}: is a folder")
    cli("bench", *CASE, "-o", tmp_path / "file" / "b.json").must_be_mistake("cannot write there")


def test_the_table_is_printed_even_if_the_file_cannot_be_written(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        with replacing(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("codec.benchmarking.report.write_json", full)
    outcome = cli("bench", *CASE, "-o", tmp_path / "b.json")
    assert outcome.code == 2
    assert "| search, tiny | 64 |" in outcome.out
    assert outcome.err.endswith("b.json: writing failed (No space left on device); nothing was written\n")
