"""Several systems in one table: what stands in it, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from doubles import PeakMetric
from results import result_folder, scored

from codec import CodecError
from codec.cli import main
from codec.evaluation import Metric, Value
from codec.evaluation.compare import Evaluation, compare
from codec.evaluation.metric import Metric as AnyMetric
from codec.evaluation.quoted import quoted_test_sets, read_quoted
from codec.evaluation.records import Record
from codec.evaluation.speed import Speed, write_speed
from codec.evaluation.summary import bootstrap_interval
from codec.evaluation.systems import Rate
from codec.evaluation.table import Average, Runs, SystemTable, build_table, known_values
from codec.evaluation.table_files import TABLE_COLUMNS, table_csv, table_markdown, write_table
from codec.evaluation.unavailable import write_unavailable


class StoiLike(Metric):
    """Gives ``stoi``, for which there are published rows."""

    name: ClassVar[str] = "stoi"
    values: ClassVar[Mapping[str, Value]] = {"stoi": Value("STOI", "higher")}

    def score(self, reference: object, degraded: object) -> dict[str, float]:
        raise AssertionError("the table reads scores, it makes none")


class LearnedMetric(PeakMetric):
    weights = "abc"


def by_name(table: SystemTable) -> dict[str, dict[str, float | None]]:
    return {row.name: {value: cell.mean for value, cell in row.cells.items()} for row in table.rows}


@pytest.fixture
def values() -> list[float]:
    return np.random.default_rng(0).normal(5.0, 2.0, size=12).tolist()


@pytest.fixture
def two(values: list[float], tmp_path: Path) -> list[Path]:
    a = result_folder(
        tmp_path / "a", scored(values, ("x", "x", "y"), stoi=0.5), name="a", metrics=[PeakMetric(), StoiLike()]
    )
    more = [value + 1 for value in values]
    b = result_folder(
        tmp_path / "b", scored(more, ("x", "x", "y"), stoi=0.75), name="b", metrics=[PeakMetric(), StoiLike()]
    )
    return [a, b]


def test_numbers_are_those_of_the_records(two: list[Path], values: list[float]) -> None:
    table = build_table(Runs.read(two), quoted="none")
    cell = table.rows[0].cells["peak"]
    assert cell.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert list(cell.ci95 or ()) == bootstrap_interval(values)
    assert (cell.n_ok, cell.n_failed) == (12, 0)
    assert by_name(table)["b"]["peak"] == pytest.approx(np.mean(values) + 1, rel=1e-12)
    assert [row.name for row in table.rows] == ["a", "b"] == [row.name for row in table.scored]


def test_an_average_over_speakers_weighs_each_speaker_once(two: list[Path], values: list[float]) -> None:
    speakers = {"x": [v for n, v in enumerate(values) if n % 3 < 2], "y": values[2::3]}
    means = [float(np.mean(scores)) for scores in speakers.values()]
    cell = build_table(Runs.read(two), average=Average.SPEAKERS, quoted="none").rows[0].cells["peak"]
    assert cell.mean == pytest.approx(np.mean(means), rel=1e-12)
    assert cell.mean != pytest.approx(np.mean(values), rel=1e-6)
    assert cell.ci95 == pytest.approx(bootstrap_interval(means))


def test_every_failure_is_counted_and_none_is_a_number(tmp_path: Path) -> None:
    records = [
        *scored([1.0, 2.0]),
        Record("u02", "s", 1.0, {}, {"peak": "silent"}),
        Record("u03", "s", 1.0, error="gone"),
    ]
    some = result_folder(tmp_path / "some", records, name="some")
    none = result_folder(tmp_path / "none", [Record(f"u0{n}", "s", 1.0, error="gone") for n in range(4)], name="none")
    table = build_table(Runs.read([some, none]), quoted="none")
    cell = table.rows[0].cells["peak"]
    assert (cell.mean, cell.n_ok, cell.n_failed) == (1.5, 2, 2)
    assert cell.failures == {"no reconstruction": 1, "silent": 1}
    lost = table.rows[1].cells["peak"]
    assert (lost.mean, lost.ci95, lost.n_failed) == (None, None, 4)
    text = table_markdown(table)
    assert "1.500 (1.000 to 2.000, 2 failed)" in text and "| - (4 failed) |" in text
    assert "peak failed: silent" in text and "some (1)" in text


def test_means_over_different_utterances_are_named(tmp_path: Path, values: list[float]) -> None:
    whole = result_folder(tmp_path / "whole", scored(values), name="whole")
    holed = scored(values)
    holed[3] = Record("u03", "s", 1.0, {}, {"peak": "silent"})
    part = result_folder(tmp_path / "part", holed, name="part")
    (note,) = build_table(Runs.read([whole, part]), quoted="none", values=["peak"]).notes
    assert "peak: the means are over different utterances" in note and "whole 12, part 11" in note
    assert build_table(Runs.read([whole]), quoted="none").notes == []


def test_a_metric_that_one_lacks_is_an_honest_gap(tmp_path: Path, values: list[float]) -> None:
    reason = "no weights; run codec fetch utmos"
    with_it = result_folder(tmp_path / "a", scored(values), name="a", unavailable={"utmos": reason})
    without = result_folder(
        tmp_path / "b", [Record(r.id, "s", 1.0, {"stoi": 0.5}) for r in scored(values)], name="b", metrics=[StoiLike()]
    )
    table = build_table(Runs.read([with_it, without]), quoted="test-clean")
    rows = {row.name: row for row in table.rows}
    assert list(table.columns) == ["utmos", "stoi", "peak", "half_peak"]  # registered ones in the registry's order
    assert rows["a"].cells["utmos"].missing == f"not available: {reason}"
    assert rows["b"].cells["utmos"].missing == "not scored"
    assert rows["b"].cells["peak"].missing == "not scored" and rows["a"].cells["stoi"].mean is None
    assert rows["SimVQ, 4,096 codes"].cells["utmos"].mean == 4.0
    text = table_markdown(table)
    assert f"- a: UTMOS not available: {reason}" in text
    assert re.search(r"\| a \|.*\| not available \| - \|", text)


def test_a_system_that_is_not_installed_is_a_row_with_the_reason(two: list[Path], tmp_path: Path) -> None:
    reason = "dac is not on this machine; run codec fetch dac"
    write_unavailable(tmp_path / "dac", "dac", reason)
    runs = Runs.read([*two, tmp_path / "dac"])
    table = build_table(runs, quoted="none", against="a")
    (row,) = [row for row in table.rows if row.kind == "not available"]
    assert (row.name, row.note) == ("dac", reason)
    assert all(cell.mean is None for cell in row.cells.values())
    assert "dac" not in table.differences and len(table.scored) == 2
    text = table_markdown(table)
    assert "| dac (*not available*) |" in text and f"- dac: not available: {reason}" in text
    with pytest.raises(CodecError, match=r"nothing is scored .*codec fetch dac"):
        Runs.read([tmp_path / "dac"])


@pytest.mark.parametrize("key", ["test_set", "protocol"])
def test_other_utterances_and_protocols_are_refused(
    two: list[Path], values: list[float], tmp_path: Path, key: str
) -> None:
    other = {"test_set": "another", "protocol": "published"}[key]
    third = result_folder(tmp_path / "c", scored(values), name="c", **{key: other})
    with pytest.raises(CodecError, match=f"a and c were scored with another {key.replace('_', ' ')} each"):
        Runs.read([*two, third])


def test_other_weights_of_a_learned_metric_are_refused(values: list[float], tmp_path: Path) -> None:
    metrics: list[AnyMetric] = [LearnedMetric(), LearnedMetric()]
    metrics[1].weights = "def"
    folders = [
        result_folder(tmp_path / name, scored(values), name=name, metrics=[metric])
        for name, metric in zip("ab", metrics, strict=True)
    ]
    with pytest.raises(CodecError, match="peak of a and b comes from other weights each"):
        Runs.read(folders)


def test_wrong_folders_are_refused(two: list[Path], values: list[float], tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="given twice"):
        Runs.read([two[0], two[1], two[0] / "." / ""])
    with pytest.raises(CodecError, match=r"score with recipes/evaluate.py first"):
        Runs.read([*two, tmp_path / "nowhere"])
    stale = two[1] / "utterances.jsonl"
    stale.write_text("".join(stale.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(CodecError, match="its summary is not that of its scores"):
        Runs.read(two)


def test_systems_of_one_name_are_told_apart(values: list[float], tmp_path: Path) -> None:
    folders = [result_folder(tmp_path / name, scored(values), name="same") for name in "ab"]
    names = list(Runs.read(folders).evaluations)
    assert names == [f"same ({folder})" for folder in folders]


def test_quoted_rows_are_marked_and_stand_in_no_difference(two: list[Path], tmp_path: Path) -> None:
    runs = Runs.read(two)
    assert not any(row.kind == "quoted" for row in build_table(runs).rows)  # of another test set
    table = build_table(runs, against="a", quoted="test-clean")
    quoted = [row for row in table.rows if row.kind == "quoted"]
    assert len(quoted) >= 8 and all(row.source and row.test_set == "LibriTTS test-clean" for row in quoted)
    assert all(cell.ci95 is None and cell.n_ok == 0 for row in quoted for cell in row.cells.values())
    assert set(table.differences) == {"b"}
    expected = compare(Evaluation.read(two[0]), Evaluation.read(two[1]))
    assert [(d.value, d.difference, d.p) for d in table.differences["b"]] == [
        (d.value, d.difference, d.p) for d in expected
    ]
    write_table(tmp_path / "table", table)
    rows = list(csv.DictReader((tmp_path / "table" / "summary.csv").open()))
    assert {row["kind"] for row in rows} == {"scored", "quoted"}
    assert not any(row["ci95_low"] or row["n_ok"] for row in rows if row["kind"] == "quoted")
    assert all("(*quoted*)" in line for line in table_markdown(table).splitlines() if line.startswith("| SimVQ"))
    assert any("they stand in no comparison" in note and "protocol strict" in note for note in table.notes)


def test_published_rows_have_a_source_and_values_that_we_compute() -> None:
    rows = read_quoted()
    assert quoted_test_sets() == ["test-clean", "test-other"]
    assert all(row.source for row in rows)
    assert {value for row in rows for value in row.scores} <= set(known_values())
    simvq = {row.bitrate_bps: row for row in rows if row.system.startswith("SimVQ") and row.test_set == "test-clean"}
    assert [simvq[rate].scores["pesq_wb"] for rate in (900, 975, 1200, 1350)] == [2.33, 2.42, 2.54, 2.61]
    # 75 tokens of log2 K bits.
    for row in rows:
        if row.system.startswith(("SimVQ", "WavTokenizer")):
            size = int(re.sub(r"\D", "", row.system))
            assert row.bitrate_bps == pytest.approx(75 * np.log2(size))


def test_the_test_set_chooses_its_published_rows(values: list[float], tmp_path: Path) -> None:
    folder = result_folder(tmp_path / "a", scored(values, stoi=0.5), metrics=[StoiLike()], set_name="test-other")
    runs = Runs.read([folder])
    assert {row.test_set for row in build_table(runs).rows if row.kind == "quoted"} == {"LibriTTS test-other"}
    assert len(build_table(runs, quoted="none").rows) == 1
    with pytest.raises(CodecError, match="known are test-clean, test-other and none"):
        build_table(runs, quoted="clean")


def test_columns_are_chosen_by_name(two: list[Path]) -> None:
    runs = Runs.read(two)
    assert len(build_table(runs, values=["peak"]).rows) == 2  # nothing is published of it
    assert list(build_table(runs, values=["stoi", "peak", "stoi"]).columns) == ["stoi", "peak"]
    with pytest.raises(CodecError, match="unknown value 'peek'; did you mean peak"):
        build_table(runs, values=["peek"])


def test_rates_are_nominal_and_in_the_files(tmp_path: Path) -> None:
    records = [Record(f"u{n}", "s", 2.0, {"peak": 1.0}, tokens=[1, 2, 1, 1], file_bytes=50) for n in range(3)]
    runs = Runs.read([result_folder(tmp_path / "a", records, rate=Rate(150.0, 8, 2.0))])
    (row,) = build_table(runs, quoted="none").rows
    assert (row.bitrate_bps, row.file_bps, row.codes_used_percent) == (150.0, 200.0, 25.0)
    text = table_markdown(build_table(runs, quoted="none"))
    assert "| noisy | 150 | 200 | 25.0 % |" in text


TIMED = Speed(12, 100.0, 5.0, 0.123456)
HEADS = "| system | codes used | perplexity | normalised entropy | RTF of encoding | RTF of decoding |"


@pytest.fixture
def costly(values: list[float], tmp_path: Path) -> list[Path]:
    """With a codebook and a speed, with a speed alone, with neither."""
    coded = [Record(f"u{n:02}", "s", 2.0, {"peak": 1.0}, tokens=[1, 2, 1, 1]) for n in range(12)]
    model = result_folder(tmp_path / "model", coded, name="model|x", rate=Rate(150.0, 8, 2.0))
    write_speed(model, TIMED, "cpu, processes: 2")
    program = result_folder(tmp_path / "program", scored(values), name="program", rate=Rate(6000.0))
    write_speed(program, Speed(7, 50.0, 600.0, 0.0005), "cuda <b>")
    return [model, program, result_folder(tmp_path / "plain", scored(values), name="plain")]


def test_codes_and_speeds_stand_in_a_table_of_their_own(costly: list[Path], tmp_path: Path) -> None:
    table = build_table(Runs.read(costly), values=["peak"])
    text = table_markdown(table)
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))  # of the tokens 1, 2, 1, 1
    start = text.splitlines().index(HEADS)
    assert text.splitlines()[start + 2 : start + 6] == [
        f"| model\\|x | 2 of 8 | {2**entropy:.1f} | {entropy / 3:.3f} | 0.05 | 0.00123 |",
        "| program | - | - | - | 12 | 0.00001 |",
        "| plain | - | - | - | - | - |",
        "",
    ]
    main_heads = next(line for line in text.splitlines() if line.startswith("| system |"))
    assert "perplexity" not in main_heads and "RTF" not in main_heads  # the scores stay readable
    assert "on the machine that scored the system" in text
    assert "Conditions: model\\|x (cpu, processes: 2); program (7 of 12 utterances) (cuda \\<b\\>)." in text
    alone = table_markdown(build_table(Runs.read(costly[::2]), quoted="none"))
    assert "Conditions: all (cpu, processes: 2)." in alone
    some = table_markdown(build_table(Runs.read(costly[1:]), quoted="none"))
    assert "Conditions: program (7 of 12 utterances) (cuda" in some

    write_table(tmp_path / "table", table)
    rows = list(csv.DictReader((tmp_path / "table" / "summary.csv").open()))
    found = {(row["system"], row["value"]): row for row in rows}
    assert found["model|x", "codes_used"]["mean"] == "2"
    assert float(found["model|x", "perplexity"]["mean"]) == pytest.approx(2**entropy)
    assert float(found["model|x", "normalized_entropy"]["mean"]) == pytest.approx(entropy / 3)
    assert (found["model|x", "encode_rtf"]["mean"], found["model|x", "encode_rtf"]["note"]) == (
        "0.05",
        "cpu, processes: 2",
    )
    assert found["program", "decode_rtf"]["mean"] == "1e-05" and ("program", "perplexity") not in found
    assert not any(row["value"].endswith("_rtf") for row in rows if row["system"] == "plain")

    content = {row["name"]: row for row in json.loads((tmp_path / "table" / "summary.json").read_text())["rows"]}
    assert content["model|x"]["speed"] == {
        "encode_rtf": 0.05,
        "decode_rtf": 0.00123456,
        "utterances": 12,
        "audio_s": 100.0,
        "conditions": "cpu, processes: 2",
    }
    assert content["model|x"]["facts"]["rate"]["perplexity"] == pytest.approx(2**entropy)
    assert content["plain"]["speed"] is None


def test_what_nobody_measured_has_no_table(two: list[Path], costly: list[Path]) -> None:
    assert HEADS not in table_markdown(build_table(Runs.read(two)))
    (costly[0] / "speed.json").unlink()
    text = table_markdown(build_table(Runs.read(costly[:1]), quoted="none"))
    assert HEADS in text and "| - | - |" in text and "RTF: real-time factor" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"encode_rtf": 1}', "decode_rtf=None, expected a number"),
        ('{"encode_rtf": NaN}', "encode_rtf=nan, expected a number"),
        ('{"encode_rtf": true}', "encode_rtf=True, expected a number"),
        ('{"encode_rtf": -1}', "encode_rtf=-1, expected a number"),
    ],
)
def test_a_damaged_speed_is_refused(two: list[Path], content: str, message: str) -> None:
    (two[0] / "speed.json").write_text(content)
    with pytest.raises(CodecError, match=f"speed.json: {message}.*; remove it, or score again with --overwrite"):
        Runs.read(two)
    Evaluation.read(two[0])  # codec compare has no use for it


def test_unequal_versions_are_told(two: list[Path]) -> None:
    path = two[1] / "summary.json"
    summary = json.loads(path.read_text())
    summary["versions"]["pesq"] = "9.9"
    path.write_text(json.dumps(summary))
    text = table_markdown(build_table(Runs.read(two), quoted="none"))
    assert re.search(r"pesq [\d.]+ \(a\), pesq 9\.9 \(b\)", text) and "torch" in text


def test_json_and_csv_hold_the_same_numbers(two: list[Path], tmp_path: Path) -> None:
    table = build_table(Runs.read(two), against="b")
    write_table(tmp_path / "table", table)
    content = json.loads((tmp_path / "table" / "summary.json").read_text())
    rows = list(csv.DictReader(table_csv(table).splitlines()))
    assert tuple(rows[0]) == TABLE_COLUMNS
    for row in content["rows"]:
        for value, cell in row["cells"].items():
            (line,) = [r for r in rows if (r["system"], r["value"], r["kind"]) == (row["name"], value, row["kind"])]
            assert line["mean"] == ("" if cell["mean"] is None else str(cell["mean"]))
    assert content["differences"]["a"][0]["better"] == "A"  # b, which it is compared with, has more


def test_names_are_escaped_in_markdown(values: list[float], tmp_path: Path) -> None:
    folder = result_folder(tmp_path / "a", scored(values), name="a|b *c* <d>\nnext")
    text = table_markdown(build_table(Runs.read([folder]), quoted="none"))
    (line,) = [line for line in text.splitlines() if line.startswith("| a\\|b")]
    assert line.startswith("| a\\|b \\*c\\* \\<d\\> next |")


def test_command(two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "table"
    for _ in range(2):  # made again, it takes the place of what was there
        with pytest.raises(SystemExit) as ended:
            main(["report", *map(str, two), "-o", str(output), "--against", str(two[0]), "--average", "speakers"])
        assert ended.value.code == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "report.html",
        "summary.csv",
        "summary.json",
        "summary.md",
    ]
    assert json.loads((output / "summary.json").read_text())["average"] == "speakers"
    assert "summary.md has the table" in capsys.readouterr().out.replace("\n", "")
    for arguments, message in (
        (["-o", str(two[0])], "holds the scores of one system"),
        (["-o", str(tmp_path / "c"), "--average", "words"], "expected utterances or speakers"),
        (["-o", str(tmp_path / "c"), "--against", str(tmp_path)], "none of the folders of the table"),
    ):
        before = (two[0] / "summary.json").read_bytes()
        with pytest.raises(SystemExit) as ended:
            main(["report", *map(str, two), *arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
        assert (two[0] / "summary.json").read_bytes() == before and not (tmp_path / "c").exists()
