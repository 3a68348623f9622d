from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from doubles import NoisySystem, PeakMetric
from results import result_folder, scored

from codec import CodecError
from codec.cli import main
from codec.evaluation.compare import Evaluation, compare
from codec.evaluation.metric import definitions
from codec.evaluation.records import Record
from codec.evaluation.report import CSV_COLUMNS, as_csv, write_report
from codec.evaluation.runner import Outcome
from codec.evaluation.summary import summarize
from codec.evaluation.systems import Rate


@pytest.fixture
def spread() -> list[float]:
    """Scores that differ far more among utterances than between two systems."""
    return np.random.default_rng(0).normal(5.0, 2.0, size=40).tolist()


def test_pairing_finds_what_two_intervals_hide(spread: list[float], tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    better = [value + 0.1 + 0.05 * generator.normal() for value in spread]
    a, b = result_folder(tmp_path / "a", scored(spread)), result_folder(tmp_path / "b", scored(better))
    (found,) = compare(Evaluation.read(a), Evaluation.read(b))
    assert (found.value, found.pairs, found.left_out) == ("peak", 40, 0)
    assert found.difference == pytest.approx(np.mean(better) - np.mean(spread))
    half = 1.96 * np.std(np.subtract(better, spread)) / math.sqrt(40)
    assert found.ci95 == pytest.approx((found.difference - half, found.difference + half), abs=0.004)
    assert found.p < 0.001 and found.better == "B"
    (reverse,) = compare(Evaluation.read(b), Evaluation.read(a))
    assert reverse.better == "A" and reverse.difference == -found.difference


def test_only_pairs_count(tmp_path: Path) -> None:
    first = [*scored([1.0, 2.0, 3.0]), Record("u03", "s", 1.0, failures={"peak": "silent"})]
    second = [*scored([2.0, 3.0]), Record("u02", "s", 1.0, error="gone"), Record("u03", "s", 1.0, {"peak": 9.0})]
    a, b = result_folder(tmp_path / "a", first), result_folder(tmp_path / "b", second)
    (found,) = compare(Evaluation.read(a), Evaluation.read(b))
    assert (found.pairs, found.left_out, found.mean_a, found.mean_b) == (2, 2, 1.5, 2.5)


def test_one_pair_has_a_difference_and_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = result_folder(tmp_path / "a", scored([1.0])), result_folder(tmp_path / "b", scored([2.0]), name="other")
    (found,) = compare(Evaluation.read(a), Evaluation.read(b))
    assert (found.pairs, found.difference, found.ci95, found.p, found.better) == (1, 1.0, None, None, "")
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(a), str(b)])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ peak")]
    assert ended.value.code == 0
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["peak", "1.000", "2.000", "+1.000", *"---", "1 of 1"]


def test_unequal_test_sets_and_protocols_are_refused(spread: list[float], tmp_path: Path) -> None:
    a = Evaluation.read(result_folder(tmp_path / "a", scored(spread)))
    for key, value in (("test_set", "other"), ("protocol", "published")):
        other = Evaluation.read(result_folder(tmp_path / key, scored(spread), **{key: value}))
        with pytest.raises(CodecError, match=f"another {key.replace('_', ' ')} each"):
            compare(a, other)
    empty = Evaluation.read(result_folder(tmp_path / "empty", [Record("u00", "s", 1.0, error="gone")]))
    names = rf"noisy \({re.escape(str(a.folder))}\) and noisy \({re.escape(str(empty.folder))}\)"
    with pytest.raises(CodecError, match=f"{names} have no scored utterance and metric in common"):
        compare(a, empty)


def test_command(spread: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = result_folder(tmp_path / "a", scored(spread))
    b = result_folder(tmp_path / "b", scored([value - 1 for value in spread]))
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(a), str(b)])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "-1.000" in said and "0.0002" in said and "better: p < 0.05" in said
    assert said.splitlines()[:2] == [f"A: noisy ({a})", f"B: noisy ({b})"]  # of one name: the folders tell them apart
    other = result_folder(tmp_path / "c", scored(spread), name="other")
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(a), str(other)])
    assert capsys.readouterr().out.splitlines()[:2] == ["A: noisy", "B: other"]
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(a), str(tmp_path / "none")])
    assert ended.value.code == 2
    assert "score with recipes/evaluate.py first" in capsys.readouterr().err


def test_csv_has_a_line_a_value(tmp_path: Path) -> None:
    class Coded(NoisySystem):
        name = 'a, "b"'
        rate = Rate(225.0)

    records = {"a": Record("a", "s", 1.0, {"peak": 2.0}, {"half_peak": "odd"}, file_bytes=30)}
    summary = summarize(Coded(), Outcome(records, definitions([PeakMetric()]), {"utmos": "no weights"}, {}), "one")
    rows = {row["value"]: row for row in csv.DictReader(as_csv(summary).splitlines())}
    assert tuple(rows["peak"]) == CSV_COLUMNS
    assert {row["system"] for row in rows.values()} == {'a, "b"'}
    assert (rows["peak"]["mean"], rows["peak"]["ci95_low"], rows["peak"]["n_ok"]) == ("2.0", "", "1")
    assert (rows["half_peak"]["mean"], rows["half_peak"]["n_failed"]) == ("", "1")
    assert (rows["bitrate_bps"]["mean"], rows["file_bps"]["mean"]) == ("225.0", "240.0")
    assert rows["utmos"]["note"] == "not available: no weights"
    write_report(tmp_path, summary)
    assert (tmp_path / "summary.csv").read_text() == as_csv(summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
