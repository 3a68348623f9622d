"""Whatever was scored, failed or is missing, and whatever systems are called: the table says it as it is, as text."""

from __future__ import annotations

import csv
import io
import json
import math
from html.parser import HTMLParser
from pathlib import Path

from doubles import NoisySystem, PeakMetric
from hypothesis import given, settings
from hypothesis import strategies as st
from results import SETTINGS

from codec.evaluation.compare import Evaluation
from codec.evaluation.metric import definitions
from codec.evaluation.page.document import page
from codec.evaluation.page.examples import collect_examples
from codec.evaluation.records import Record
from codec.evaluation.runner import Outcome
from codec.evaluation.summary import summarize
from codec.evaluation.table import Average, Runs, build_table
from codec.evaluation.table_files import as_json, table_csv, table_markdown

IDS = ("u0", "u1", "u2", "u3")
# A score, a failure with its reason, or an utterance without reconstruction.
SCORES = st.one_of(st.floats(-1e6, 1e6), st.sampled_from(["silent", "too <short>"]), st.none())
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def evaluation(name: str, scores: list[float | str | None]) -> Evaluation:
    records = {}
    for id_, score in zip(IDS, scores, strict=True):
        speaker = "even" if id_ in ("u0", "u2") else "odd"
        if score is None:
            records[id_] = Record(id_, speaker, 1.0, error="gone")
        elif isinstance(score, str):
            records[id_] = Record(id_, speaker, 1.0, {}, {"peak": score, "half_peak": score})
        else:
            records[id_] = Record(id_, speaker, 1.0, {"peak": score, "half_peak": score / 2})
    system = NoisySystem()
    system.name = name  # type: ignore[misc]
    summary = summarize(system, Outcome(records, definitions([PeakMetric()]), {}, {"torch": "2"}), "set")
    return Evaluation(name, SETTINGS, summary["definitions"], records, Path("nowhere"), summary)


def runs_of(systems: dict[str, list[float | str | None]]) -> Runs:
    return Runs({name: evaluation(name, scores) for name, scores in systems.items()}, {})


SYSTEMS = st.dictionaries(NAMES, st.lists(SCORES, min_size=4, max_size=4), min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(SYSTEMS, st.sampled_from(Average))
def test_numbers_and_counts_are_those_of_the_records(
    systems: dict[str, list[float | str | None]], average: Average
) -> None:
    runs = runs_of(systems)
    table = build_table(runs, average=average, quoted="none")
    content = json.loads(as_json(table))
    for row, scores in zip(content["rows"], systems.values(), strict=True):
        cell = row["cells"]["peak"]
        numbers = [score for score in scores if isinstance(score, float)]
        assert (cell["n_ok"], cell["n_failed"]) == (len(numbers), 4 - len(numbers))
        groups = [[s for s in scores[first::2] if isinstance(s, float)] for first in (0, 1)]
        means = [math.fsum(group) / len(group) for group in groups if group]
        over = numbers if average is Average.UTTERANCES else means
        assert cell["mean"] == (math.fsum(over) / len(over) if over else None)
        assert (cell["ci95"] is None) == (len(over) < 2)
        if cell["ci95"]:
            assert min(over) - 1e-6 <= cell["ci95"][0] <= cell["ci95"][1] <= max(over) + 1e-6
    lines = list(csv.DictReader(io.StringIO(table_csv(table), newline="")))
    assert [line["system"] for line in lines if line["value"] == "peak"] == list(systems)
    rows = [line for line in table_markdown(table).splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(systems)


@settings(max_examples=25, deadline=None)
@given(SYSTEMS)
def test_no_name_becomes_markup(systems: dict[str, list[float | str | None]]) -> None:
    plain = {f"system {n}": scores for n, scores in enumerate(systems.values())}
    found = []
    for each in (systems, plain):
        runs = runs_of(each)
        table = build_table(runs, quoted="none")
        found.append(Elements(page(table, runs, collect_examples(table, runs, [], 0), 0)).found)
    assert found[0] == found[1]
