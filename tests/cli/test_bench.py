"""What becomes of the numbers of ``codec bench``."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from codec import Codec
from codec.benchmarking import runner
from codec.benchmarking.cases import Case, Subject, model_cases, standard_cases
from codec.benchmarking.report import read_json
from codec.cli.bench import select_cases
from codec.config import ModelConfig, build
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


def test_a_model_of_ones_own(cli, tmp_path: Path, tiny_model_dir: Path, speech_path: Path) -> None:
    model = ("--model", tiny_model_dir, "--device", "cpu", "--threads", 1, "--runs", 1)
    outcome = cli("bench", *model, "--seconds", 0.3, "--speech", speech_path, "-o", tmp_path / "b.json")
    assert outcome.code == 0, outcome
    _, records = read_json(tmp_path / "b.json")
    assert [record["stage"] for record in records] == ["encode", "search", "decode", "round_trip"]
    K = Codec.from_pretrained(tiny_model_dir).codebook_size
    assert {(record["size"], record["codebook_size"]) for record in records} == {(str(tiny_model_dir), K)}
    encode, search, decode, both = (record["operations"] for record in records)
    assert both == encode + decode and 0 < search < encode
    assert outcome.out.count(f"| {K:,} | 1 x 0.3 | 1 | float32 |") == 4

    cli("bench", *model, "--codebook", 64).must_be_mistake("has a size and a codebook of its own")
    cli("bench", *model, "--stage", "train_step").must_be_mistake("training steps are timed of --size")
    cli("bench", "--model", tmp_path / "none").must_be_mistake("none")


def test_the_floor_of_other_bottlenecks_is_what_they_compute(tiny_codec: Codec) -> None:
    """Not the search among all codes, which they do not have."""
    config = tiny_codec.config.model_dump(mode="json")
    config["quantizer"] = {"name": "fsq", "codebook_size": 64}
    codec = Codec(build(ModelConfig, config)).eval()
    case = Case("search", "fsq", codec.codebook_size, 1, 0.2, 1)
    operations = Subject(codec, torch.device("cpu")).operations(case)
    frames, levels = 15, len(codec.quantizer.levels)
    assert operations == 2 * frames * codec.latent_dim * levels


def test_the_lengths_of_a_model_are_those_of_the_presets() -> None:
    cases = list(model_cases("mine", 7, [1]))
    assert {(case.size, case.codebook_size) for case in cases} == {("mine", 7)}
    for stage in ("round_trip", "encode", "search", "decode"):
        lengths = {(case.batch, case.seconds) for case in cases if case.stage == stage}
        of_presets = {
            (case.batch, case.seconds)
            for case in standard_cases([1])
            if case.stage == stage and case.size == "reference" and case.codebook_size == 4096
        }
        assert lengths == of_presets
    chosen = select_cases([1, 2], ["search"], None, None, None, None, quick=True, model=("mine", 7))
    assert [(case.stage, case.threads) for case in chosen] == [("search", 1), ("search", 2)]
