"""The table of what ``egs/mini/study.py`` has scored so far, as Markdown.

    python egs/mini/study_table.py                                # print it
    python egs/mini/study_table.py --write egs/mini/RESULTS.md    # put it between the file's marks

Scores: means with 95 % intervals from a bootstrap that draws seeds and utterances anew, each with repetition and
independently of the other (Owen, "The pigeonhole bootstrap", 2007): the seeds share their utterances, so utterances
drawn for each seed apart would make intervals too narrow. Differences are paired: the same seeds and utterances in both
rows. Utterances without a score in one of the runs are left out of all, and said. Codes used (on the test set) and
effective dimensions (at the last validation) are one number a run: means over seeds with 95 % intervals by Student's t.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import stats
from study import OUT, Row, check_unchanged, pick, read_rows

from codec.cli import run
from codec.documents import find_place
from codec.errors import CodecError
from codec.evaluation.records import RECORDS_FILE

RESAMPLES = 2000
SHOWN = {"pesq_wb": "PESQ-WB", "stoi": "STOI", "mel_distance": "log-mel distance"}  # value -> heading
BASELINE = "better"
MARKS = ("<!-- study: python egs/mini/study_table.py --write egs/mini/RESULTS.md -->", "<!-- end of study -->")

Scores = dict[str, dict[str, float]]  # seed -> utterance -> score

app = typer.Typer(add_completion=False)


@dataclass
class Scored:
    """A row's results: one entry a seed."""

    row: Row
    scores: dict[str, Scores]  # value -> its scores
    utterances: int
    codes_used: dict[str, int]  # of each seed
    dimensions: dict[str, tuple[int, int]]  # of each seed: latents, codes


def collect(row: Row, folder: Path, extra: list[str]) -> Scored | None:
    """What is done of a row; None where nothing is.

    Raises:
        CodecError: a run had other settings than the row has now.
    """
    found = Scored(row, {value: {} for value in SHOWN}, 0, {}, {})
    for run_folder in sorted((folder / row.name).glob("seed_*")):
        summary = run_folder / "scores" / "summary.json"
        if not summary.exists():
            continue
        seed = run_folder.name.removeprefix("seed_")
        check_unchanged(row, seed, run_folder, extra)
        lines = (run_folder / "scores" / RECORDS_FILE).read_text(encoding="utf-8").split("\n")  # ids may hold others
        records = [json.loads(line) for line in lines if line]
        for value, scores in found.scores.items():
            scores[seed] = {record["id"]: record["scores"][value] for record in records if value in record["scores"]}
        found.utterances = max(found.utterances, len(records))
        found.codes_used[seed] = json.loads(summary.read_text(encoding="utf-8"))["rate"]["codes_used"]
        found.dimensions[seed] = _dimensions(run_folder)
    return found if found.codes_used else None


def _dimensions(run_folder: Path) -> tuple[int, int]:
    """Effective dimension of the latents of the validation crops and of the codebook, at the end of the training."""
    lines = (run_folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = [entry for entry in map(json.loads, lines) if entry["kind"] == "validation"][-1]
    return int(last["effective_dimension/latents"]), int(last["effective_dimension/codebook"])


def table_of(scores: Scores, minus: Scores | None = None) -> np.ndarray:
    """(seeds, utterances) of what all runs have, in float64: the scores, or how far they are above ``minus``."""
    seeds = sorted(scores if minus is None else scores.keys() & minus.keys())
    both = [one[seed] for one in (scores, minus) if one is not None for seed in seeds]
    ids = sorted(set.intersection(*map(set, both))) if both else []
    table = np.array([[scores[seed][i] for i in ids] for seed in seeds])
    return table if minus is None else table - np.array([[minus[seed][i] for i in ids] for seed in seeds])


def interval(table: np.ndarray) -> tuple[float, float, float] | None:
    """Mean of (seeds, utterances) and its 95 % interval; None where there is nothing."""
    if not table.size:
        return None
    generator = np.random.default_rng(0)
    seeds, utterances = (generator.integers(size, size=(RESAMPLES, size)) for size in table.shape)
    means = table[seeds[:, :, None], utterances[:, None, :]].mean(axis=(1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(table.mean()), float(low), float(high)


def markdown(rows: list[Scored]) -> str:
    """Two tables: the rows, and how far they are from the baseline."""
    notes: list[str] = []
    dimension = "effective dimension of latents", "of codes"
    lines = _heading("", "seeds", *SHOWN.values(), "codes used", *dimension)
    for scored in rows:
        tables = {value: table_of(scores) for value, scores in scored.scores.items()}
        notes += _missing(scored.row.title, tables, scored.utterances)
        numbers = [scored.codes_used.values(), *zip(*scored.dimensions.values(), strict=True)]
        cells = [scored.row.title, str(len(scored.codes_used)), *(_cell(interval(table)) for table in tables.values())]
        lines.append(_line(*cells, *(_over_seeds(of_seeds) for of_seeds in numbers)))
    baseline = next((scored for scored in rows if scored.row.name == BASELINE), None)
    if baseline and len(rows) > 1:
        lines += ["", *_heading(f"minus {baseline.row.title}", "seeds", *SHOWN.values())]
        for scored in rows:
            seeds = len(scored.codes_used.keys() & baseline.codes_used.keys())
            if scored is not baseline and seeds:
                pairs = {value: table_of(scored.scores[value], baseline.scores[value]) for value in SHOWN}
                notes += _missing(f"{scored.row.title} minus {baseline.row.title}", pairs, scored.utterances)
                cells = [scored.row.title, str(seeds)]
                lines.append(_line(*cells, *(_cell(interval(table), sign="+") for table in pairs.values())))
    return "\n".join(lines + ([""] if notes else []) + notes) + "\n"


def _missing(title: str, tables: dict[str, np.ndarray], utterances: int) -> list[str]:
    return [
        f"- {title}: {SHOWN[value]} of {table.shape[-1]} of {utterances} utterances, those that have it in every run"
        for value, table in tables.items()
        if table.shape[-1] < utterances
    ]


def _heading(first: str, *others: str) -> list[str]:
    return [_line(first, *others), "|---|" + "---:|" * len(others)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(found: tuple[float, float, float] | None, sign: str = "") -> str:
    if found is None:
        return "-"
    mean, low, high = (f"{number:{sign}.3f}" for number in found)
    return f"{mean} ({low} to {high})"


def _over_seeds(numbers: Iterable[int]) -> str:
    values = list(numbers)
    mean = f"{np.mean(values):,.0f}"
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean} ± {half:,.0f}"


@app.command()
def main(
    folder: Annotated[Path, typer.Option("--runs", help="Folder of the runs.")] = OUT,
    rows: Annotated[str | None, typer.Option(help="Comma-separated names; default: all.")] = None,
    extra: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As the study had it.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file with the study's marks.")] = None,
) -> None:
    """Print the table, and put it into a document."""
    found = [scored for row in pick(read_rows(), rows) if (scored := collect(row, folder, extra or []))]
    if not found:
        raise CodecError(f"{folder}: no row is scored yet; run egs/mini/study.py first")
    table = markdown(found)
    print(table)
    if write is not None:
        find_place(write, MARKS).fill(table)


if __name__ == "__main__":
    run(app)
