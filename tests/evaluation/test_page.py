"""The page of several systems, read as a browser reads it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from doubles import noisy
from results import result_folder
from torch import Tensor

from codec import audio
from codec.evaluation.page import write_page
from codec.evaluation.page.document import page
from codec.evaluation.page.examples import collect_examples, find_extremes
from codec.evaluation.records import Record
from codec.evaluation.speed import Speed, write_speed
from codec.evaluation.table import Runs, SystemTable, build_table
from codec.evaluation.unavailable import write_unavailable
from codec.manifest import Utterance

RATE = 24_000
NASTY = '<img src="http://evil.example/x.png"> & "b"'
MANY = 10_000_000


class Page(HTMLParser):
    """Text, attributes and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(text)
        self.text = " ".join(" ".join(self.texts.values()).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + " " + data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def scores_of(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="scores">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content: dict[str, object] = json.loads(found[1])
    return content


@pytest.fixture(scope="module")
def runs(clips: list[Tensor], utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two systems on six utterances; the second fails on one, and has a name that is markup."""
    tmp_path = tmp_path_factory.mktemp("runs")
    folders = []
    for number, name in enumerate(("plain", NASTY)):
        records = [
            Record(
                *(u.id, u.speaker, u.duration_s, {"peak": 0.1 * n + number, "half_peak": 1.0 if number else 0.5 * n}),
                sound=True,
            )
            for n, u in enumerate(utterances)
        ]
        if number:
            records[2] = Record(utterances[2].id, utterances[2].speaker, 1.0, {}, {"peak": NASTY, "half_peak": NASTY})
        folder = result_folder(tmp_path / f"run{number}", records, name=name)
        for n, (utterance, clip) in enumerate(zip(utterances, clips, strict=True)):
            audio.write(folder / "audio" / f"{utterance.id}.wav", noisy(clip, 0.01, n), RATE)
        folders.append(folder)
    write_unavailable(tmp_path / "dac", "dac", "run codec fetch dac")
    return Runs.read([*folders, tmp_path / "dac"])


@pytest.fixture(scope="module")
def table(runs: Runs) -> SystemTable:
    return build_table(runs, against="plain")


@pytest.fixture(scope="module")
def text(runs: Runs, table: SystemTable, utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> str:
    tmp_path = tmp_path_factory.mktemp("page")
    size = write_page(tmp_path / "out", table, runs, utterances, sound_bytes=MANY)
    content = (tmp_path / "out" / "report.html").read_bytes()
    assert len(content) == size
    return content.decode()


def test_nothing_is_fetched_and_names_are_text(text: str) -> None:
    seen = Page(text)
    links = [attributes[key] for _, attributes in seen.elements for key in ("src", "href") if key in attributes]
    assert links and all(link.startswith(("data:audio/flac;base64,", "data:image/png;base64,", "#")) for link in links)
    assert not re.search(r"@import|url\(|<link|<iframe|<object", text)
    assert not [image for image in seen.all("img") if "evil" in image.get("src", "")]
    assert NASTY in seen.text.replace("&quot;", '"') and len(seen.all("script")) == 2


def test_numbers_are_those_of_the_table(text: str, table: SystemTable, runs: Runs) -> None:
    seen = Page(text)
    for row in table.scored:
        for value, cell in row.cells.items():
            if cell.mean is not None and cell.ci95 is not None:
                digits = table.columns[value].digits
                expected = rf"<td>{cell.mean:.{digits}f}<small>{cell.ci95[0]:.{digits}f} to {cell.ci95[1]:.{digits}f}"
                assert expected in text
    assert "1 failed" in seen.text and "run codec fetch dac" in seen.text
    assert len(re.findall(r'<tr class="quoted">', text)) == sum(row.kind == "quoted" for row in table.rows)
    (found,) = [found for found in table.differences[NASTY] if found.value == "peak"]
    assert f"{found.difference:+.3f}" in text and f"p = {found.p:.4f}, 5 pairs" in text


def test_the_scatter_has_every_score_and_no_quoted_system(text: str, runs: Runs) -> None:
    data = scores_of(text)
    assert data["systems"] == ["plain", NASTY]
    peak = data["values"]["peak"]  # type: ignore[index]
    for scores, evaluation in zip(peak["scores"], runs.evaluations.values(), strict=True):
        expected = [evaluation.records[id_].scores.get("peak") for id_ in data["ids"]]  # type: ignore[union-attr, attr-defined]
        assert scores == pytest.approx(expected, abs=1e-3) if None not in expected else scores[2] is None
    assert [box["id"] for box in Page(text).all("select")] == ["scatter-value", "scatter-first", "scatter-second"]


def test_players_pictures_and_plots_have_names(text: str) -> None:
    seen = Page(text)
    assert seen.all("audio") and all(sound["aria-label"] and "controls" in sound for sound in seen.all("audio"))
    assert seen.all("img") and all(image["alt"] for image in seen.all("img"))
    assert seen.all("svg") and all(plot["aria-label"] and plot["role"] == "img" for plot in seen.all("svg"))
    for attributes in seen.all("div"):
        if "scroll" in attributes.get("class", "").split() and "region" in attributes.get("role", ""):
            assert attributes["aria-label"] and attributes["tabindex"] == "0"
    ids = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {link["href"].removeprefix("#") for link in seen.all("a")}
    assert targets and targets <= set(ids)


def test_the_worst_and_the_best_are_found_in_the_metrics_own_direction(runs: Runs, table: SystemTable) -> None:
    found = {(e.value, e.system, e.kind): (e.id, e.score) for e in find_extremes(table, runs)}
    assert found["peak", "plain", "worst"] == ("u0", 0.0) and found["peak", "plain", "best"] == ("u5", 0.5)
    assert ("half_peak", NASTY, "worst") not in found  # all its scores are equal
    assert found["peak", NASTY, "best"][0] == "u5"
    lower = {**table.columns, "peak": replace(table.columns["peak"], better="lower")}
    reversed_ = find_extremes(replace(table, columns=lower), runs)
    assert next(e.id for e in reversed_ if (e.value, e.system, e.kind) == ("peak", "plain", "worst")) == "u5"


def test_sounds_are_the_recordings_and_the_reconstructions(
    text: str, runs: Runs, clips: list[Tensor], tmp_path: Path
) -> None:
    sounds = {
        attributes["aria-label"]: base64.b64decode(attributes["src"].partition(",")[2])
        for attributes in Page(text).all("audio")
    }
    assert {"Original, u0", "plain, u0", f"{NASTY}, u0"} <= sounds.keys()
    heard, rate = soundfile.read(io.BytesIO(sounds["Original, u0"]))
    assert rate == RATE and np.abs(heard - clips[0].numpy()).max() < 2**-14
    heard, _ = soundfile.read(io.BytesIO(sounds["plain, u0"]))
    kept, _ = soundfile.read(runs.evaluations["plain"].folder / "audio" / "u0.wav")
    assert np.abs(heard - kept).max() < 2**-14


@pytest.mark.parametrize("limit", [0, 200_000])
def test_the_page_is_no_larger_than_allowed(
    runs: Runs, table: SystemTable, utterances: list[Utterance], text: str, limit: int
) -> None:
    examples = collect_examples(table, runs, utterances, limit)
    sounds = [version for example in examples.heard.values() for version in example.versions]
    assert sum(version.size for version in sounds) == pytest.approx(examples.bytes_used)
    assert examples.bytes_used <= limit < len(text)
    assert examples.left_out > 0 and "did not fit" not in text
    assert bool(sounds) == (limit > 0)
    small = page(table, runs, examples, limit)
    assert not limit or (f"at most {limit / 1e6:g} MB" in small and "did not fit" in small)
    assert len(small) < limit + 120_000


def test_without_sounds_the_page_says_how_to_get_them(runs: Runs, table: SystemTable, tmp_path: Path) -> None:
    write_page(tmp_path / "no-manifest", table, runs, [], sound_bytes=MANY)
    seen = Page((tmp_path / "no-manifest" / "report.html").read_text(encoding="utf-8"))
    assert "The original is not here: give --manifest" in seen.text
    assert not [sound for sound in seen.all("audio") if sound["aria-label"].startswith("Original")]
    folders = [
        shutil.copytree(evaluation.folder, tmp_path / str(n), ignore=shutil.ignore_patterns("audio"))
        for n, evaluation in enumerate(runs.evaluations.values())
    ]
    write_page(tmp_path / "silent", table, Runs.read(folders), [], sound_bytes=MANY)
    seen = Page((tmp_path / "silent" / "report.html").read_text(encoding="utf-8"))
    assert not seen.all("audio") and "score with --save-audio to hear them" in seen.text


def test_codes_and_speeds_are_below_the_scores(runs: Runs, table: SystemTable, text: str, tmp_path: Path) -> None:
    assert "Rate and speed" not in text  # none of them was timed, or has a codebook
    folder = shutil.copytree(runs.evaluations[NASTY].folder, tmp_path / "timed", ignore=shutil.ignore_patterns("audio"))
    write_speed(folder, Speed(6, 10.0, 0.5, 2.5), NASTY)
    timed = Runs.read([runs.evaluations["plain"].folder, folder])
    write_page(tmp_path / "out", build_table(timed), timed, [], sound_bytes=0)
    content = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    (section,) = re.findall(r"<section><h2>Rate and speed</h2>.*?</section>", content)
    assert content.index("<h2>Scores</h2>") < content.index(section) < content.index("<h2>Distributions</h2>")
    assert "<td>plain</td><td>-</td><td>-</td><td>-</td><td>-</td><td>-</td>" in section
    assert f"<td>{escape(NASTY)}</td><td>-</td><td>-</td><td>-</td><td>0.05</td><td>0.25</td>" in section
    assert "on the machine that scored the system" in section and f"Conditions: all ({escape(NASTY)})." in section
    assert not Page(section).all("img")


def test_one_system_has_no_scatter(runs: Runs, tmp_path: Path) -> None:
    alone = Runs.read([runs.evaluations["plain"].folder])
    write_page(tmp_path / "out", build_table(alone), alone, [], sound_bytes=0)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<h1" in text and "1 system on set" in text


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_javascript() -> None:
    script = Path(__file__).parents[2] / "codec" / "evaluation" / "page" / "scatter.js"
    assert subprocess.run(["node", "--check", str(script)], capture_output=True, check=False).returncode == 0
