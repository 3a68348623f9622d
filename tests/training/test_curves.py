"""Curves of runs, as they are logged, as a picture and as a page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pytest
from typer.testing import CliRunner

from codec import CodecError
from codec.cli import app
from codec.training.curves import html, panels, read_run, short_names

LINES = [
    {"step": 50, "kind": "train", "loss/mel": 2.0, "audio_s_per_s": 10.0, "note": "no number"},
    {"step": 50, "kind": "switch", "relative_error_at_switch": 0.2},
    {"step": 100, "kind": "train", "loss/mel": 1.0, "audio_s_per_s": 11.0},
    {"step": 100, "kind": "validation", "loss/mel": 1.5, "codes_used": 900.0, "odd": 0.001},
    {"step": 150, "kind": "validation", "loss/mel": 1.25, "codes_used": 9.0, "odd": float("nan")},
]


def make_run(folder: Path, lines: list[dict[str, object]], tail: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail, encoding="utf-8")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """A run, and one that is just writing its third line."""
    return [make_run(tmp_path / "one" / "a", LINES), make_run(tmp_path / "two" / "a", LINES[:1], '{"step": 100, "ki')]


def test_runs_are_read_as_they_were_logged(runs: list[Path]) -> None:
    one, two = (read_run(folder, folder.name) for folder in runs)
    assert one.curves["validation/loss/mel"] == [(100, 1.5), (150, 1.25)]
    assert one.switch == 50 and two.switch is None
    assert two.curves == {"train/loss/mel": [(50, 2.0)], "train/audio_s_per_s": [(50, 10.0)]}
    assert "train/note" not in one.curves and not any(key.startswith("switch") for key in one.curves)


def test_panels_hold_every_run_that_has_the_quantity(runs: list[Path]) -> None:
    read = [read_run(folder, name) for folder, name in zip(runs, short_names(runs), strict=True)]
    usual = {panel.title: panel for panel in panels(read)}
    assert list(usual) == ["validation/loss/mel", "train/loss/mel", "validation/codes_used", "train/audio_s_per_s"]
    assert [curve.name for curve in usual["train/loss/mel"].curves] == ["one/a", "two/a"]
    assert [curve.name for curve in usual["validation/loss/mel"].curves] == ["one/a"]
    assert usual["validation/codes_used"].log_y and not usual["train/loss/mel"].log_y
    assert [panel.title for panel in panels(read, everything=True)][-1] == "validation/odd"
    assert [panel.title for panel in panels(read, ["validation/odd"])] == ["validation/odd"]
    with pytest.raises(CodecError, match=r"loss/nel: none of the runs has logged it; there are train/audio_s_per_s"):
        panels(read, ["loss/nel"])


def test_names_are_as_long_as_it_takes(tmp_path: Path) -> None:
    assert short_names([tmp_path / "x" / "a", tmp_path / "y" / "b"]) == ["a", "b"]
    assert short_names([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]
    assert short_names([tmp_path / "x", tmp_path / "x"]) == ["x", "x"]  # the same run twice


def test_a_page_draws_each_run_in_its_colour(runs: list[Path]) -> None:
    read = [read_run(folder, name) for folder, name in zip(runs, ("<1>", "2"), strict=True)]
    page = html(read, panels(read))
    assert "&lt;1&gt;" in page and "<1>" not in page and "http" not in page.replace("http-equiv", "")
    charts = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert len(charts) == 4
    styles = [{line.get("class", "").split()[-1] for line in chart.findall("polyline")} for chart in charts]
    assert styles == [{"run-0"}, {"run-0", "run-1"}, {"run-0"}, {"run-0", "run-1"}]


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_the_command_draws_and_keeps_what_is_there(runs: list[Path], tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"curves{suffix}"
    arguments = ["plot", *map(str, runs), "-o", str(output)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{output}: 4 curves of one/a, two/a\n"
    if suffix == ".png":
        assert matplotlib.image.imread(output).std() > 0.05  # something is drawn
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, CodecError) and "exists already; give --force" in str(again.exception)
    assert CliRunner().invoke(app, [*arguments, "--force", "--all"]).exit_code == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read (No such file or directory); give folders that recipes/train.py wrote"),
        ("", "nothing logged yet"),
        ('{"step": 1}\n{"step": 2, "kind": "train", "a": 1}\n', "line 1: not a line of a run's log"),
    ],
)
def test_mistakes(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(CodecError) as error:
        read_run(tmp_path, "x")
    assert says in str(error.value)
