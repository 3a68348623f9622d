"""Results of several bottlenecks become one report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from codec.cli import main
from codec.errors import CodecError
from codec.evaluation import bottlenecks
from codec.evaluation.bottlenecks import figures
from codec.evaluation.bottlenecks.guide import paragraph
from codec.quantizers import REGISTRY

ROOT = Path(__file__).parents[2]


def line(system: str = "vq", size: int = 256, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"system": system, "codebook_size": size, "seed": seed, "source": "speech", "distortion": 0.5, **more}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def test_intervals_are_students(tmp_path: Path) -> None:
    summary = bottlenecks.Summary.of([1.0, 2.0, 3.0])
    assert summary.mean == 2 and summary.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert summary.text(1) == "2.0 ± 2.5" and bottlenecks.Summary.of([1.0]).text(1) == "1.0"


def test_the_best_stands_first(tmp_path: Path) -> None:
    """Less error and more STOI are better; systems without the value come last."""
    file = write(
        tmp_path / "a", line("vq", distortion=0.3), line("simvq", distortion=0.1), line("simvq", seed=1, distortion=0.2)
    )
    (table,) = [table for table, _ in bottlenecks.grouped(bottlenecks.read_results([file]))]
    assert table.title == "speech, 256 codes (8 bits)"
    assert [row[:2] for row in table.rows] == [["simvq", "2"], ["vq", "1"]]
    scores = [{"system": n, "codebook_size": 64, "seed": 0, "stoi": s} for n, s in (("a", 0.5), ("b", 0.9))]
    scores.append({"system": "c", "codebook_size": 64, "seed": 0, "codes_used": 3})
    (table,) = [table for table, _ in bottlenecks.grouped(bottlenecks.read_results([write(tmp_path / "b", *scores)]))]
    assert [row[0] for row in table.rows] == ["b", "a", "c"] and table.rows[2][2] == "-"


def test_the_command_writes_page_and_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [line(s, k, n, codes_used=k / 2 + n) for s in ("vq", "simvq", "<b>") for k in (256, 4096) for n in (0, 1)]
    one, two = write(tmp_path / "1.jsonl", *runs[:5]), write(tmp_path / "2.jsonl", *runs[5:])
    with pytest.raises(SystemExit) as end:
        main(["compare-quantizers", str(one), str(two), "-o", str(tmp_path / "out"), "--systems", "vq,simvq"])
    assert not end.value.code and "12 runs of 3 systems" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<table>") == 2 and page.count("<svg") == 2 and page.count("<polyline") == 4
    assert "<td><b></td>" not in page and "&lt;b&gt;" in page
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| simvq | 2 | 0.5000 | 128 ± 6 |" in text
    assert "**simvq** (arXiv 2411.02038). Codes are a frozen random table" in text
    assert "<b>vq</b> (VQ-VAE" in page


def test_every_system_has_a_paragraph_and_it_is_that_of_the_document() -> None:
    page = " ".join((ROOT / "docs" / "bottlenecks.md").read_text(encoding="utf-8").split())
    for name in REGISTRY:
        text = paragraph(name)
        assert text is not None and f"**{name}**" in text and text in page
        assert "Choose" in text and "Cost" in text, name
    assert paragraph("simvq-uniform") == paragraph("simvq") and paragraph("kmeans") is None


def test_use_maps_and_failures_are_in_the_report(tmp_path: Path) -> None:
    """Six systems of which one has failed once: two charts of four and two curves, one picture, and the reason."""
    the_map = {"points": [[0, 1], [2, -1], [1, 1]], "uses": [0, 3, 1], "share": 0.5}
    systems = ("vq", "simvq", "ema", "fsq", "lfq", "cvq")
    runs = [line(s, 64, n, codes_used=n + 1, use=[[10, 4], [20, n + 1]]) for s in systems for n in (0, 1)]
    runs[0]["map"], runs[2]["map"] = the_map, the_map
    runs.append({"system": "vq", "codebook_size": 64, "seed": 2, "source": "speech", "failed": "diverged <at> 3"})
    file, page = write(tmp_path / "runs", *runs), tmp_path / "page.md"
    page.write_text(f"Before.\n{bottlenecks.MARKS[0]}\nold\n{bottlenecks.MARKS[1]}\nAfter.\n")
    with pytest.raises(SystemExit) as end:
        main(["compare-quantizers", str(file), "-o", str(tmp_path / "out"), "--write", str(page)])
    assert not end.value.code
    html = (tmp_path / "out" / "report.html").read_text()
    use = html.split("Use over training")[1]
    assert use.count("<svg") == 2 and use.count("<polyline") == 6
    assert html.count("data:image/png") == 1 and "diverged &lt;at&gt; 3" in html
    text = page.read_text()
    assert text.startswith("Before.\n") and text.endswith("\nAfter.\n") and "old" not in text
    assert "| vq | 2, 1 failed | 0.5000 |" in text and "- vq, seed 2, failed: diverged <at> 3" in text
    assert "(page_use_0.png)" in text and (tmp_path / "page_use_0.png").read_bytes().startswith(b"\x89PNG")
    assert "(page_maps_0.png)" in text and (tmp_path / "page_maps_0.png").read_bytes().startswith(b"\x89PNG")
    assert "### The systems" not in text and "(maps_0.png)" in (tmp_path / "out" / "report.md").read_text()
    assert figures._use_of(bottlenecks.read_results([file]), "vq") == [(10, 4.0), (20, 1.5)]


def test_a_document_without_a_place_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (page := tmp_path / "page.md").write_text("No marks.")
    file = write(tmp_path / "runs", line())
    with pytest.raises(SystemExit) as end:
        main(["compare-quantizers", str(file), "-o", str(tmp_path / "out"), "--write", str(page)])
    assert end.value.code == 2 and not (tmp_path / "out").exists() and page.read_text() == "No marks."


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(use=[[1]])], "use: expected"),
        ([line(map={"points": [[0, 1]], "uses": [1, 2], "share": 1})], "map: "),
        ([line(map=3)], "map: "),
        ([line(), line()], "occurs twice"),
        ([line(distortion=float("nan"))], "finite number"),
        ([{"system": "vq", "seed": 0}], "codebook_size"),
        ([{"system": "vq", "codebook_size": 4, "seed": 0}], "none of distortion"),
        ([], "no results"),
    ],
)
def test_what_are_no_results_is_said(tmp_path: Path, lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        bottlenecks.read_results([write(tmp_path / "results.jsonl", *lines)])


def test_unknown_systems_and_files_end_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "results.jsonl", line())
    for arguments, message in (([str(file), "--systems", "simvk"], "known are vq"), ([str(tmp_path / "no")], "read")):
        with pytest.raises(SystemExit) as end:
            main(["compare-quantizers", *arguments, "-o", str(tmp_path / "out")])
        assert end.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
