"""The table of what ``egs/mini/study.py`` has scored so far, as Markdown.

    python egs/mini/study_table.py                                # print it
    python egs/mini/study_table.py --write egs/mini/RESULTS.md    # put it between the file's marks

Means over seeds; 95 % intervals from a bootstrap over seeds and, within them, over utterances. Differences are paired:
the same seed and utterance in both rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from study import OUT, Row, pick, read_rows

from codec import Codec
from codec.audio import read
from codec.cli import run
from codec.errors import CodecError
from codec.evaluation.records import RECORDS_FILE
from codec.files import write_text
from codec.manifest import read_manifest
from codec.training.warmup import effective_dimension

RESAMPLES = 2000
SHOWN = {"pesq": ("PESQ-WB", 3), "stoi": ("STOI", 3), "mel": ("log-mel", 3)}  # value -> heading, digits
BASELINE = "better"
MARKS = ("<!-- study: python egs/mini/study_table.py --write egs/mini/RESULTS.md -->", "<!-- end of study -->")

app = typer.Typer(add_completion=False)


@dataclass
class Scored:
    """A row's results: one entry a seed."""

    row: Row
    scores: dict[str, dict[str, dict[str, float]]]  # value -> seed -> utterance -> score
    codes_used: list[int]
    dimensions: list[tuple[int, int]]  # of latents, of the codes

    @property
    def seeds(self) -> list[str]:
        """That are scored."""
        return sorted(self.scores["stoi"])


def collect(row: Row, folder: Path, manifest: Path) -> Scored | None:
    """What is done of a row; None where nothing is."""
    scores: dict[str, dict[str, dict[str, float]]] = {value: {} for value in SHOWN}
    codes, dimensions = [], []
    for run_folder in sorted((folder / row.name).glob("seed_*")):
        summary = run_folder / "scores" / "summary.json"
        if not summary.exists():
            continue
        seed = run_folder.name.removeprefix("seed_")
        for line in (run_folder / "scores" / RECORDS_FILE).read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            for value in SHOWN:
                if value in record["scores"]:
                    scores[value].setdefault(seed, {})[record["id"]] = record["scores"][value]
        codes.append(json.loads(summary.read_text(encoding="utf-8"))["rate"]["codes_used"])
        dimensions.append(_dimensions(run_folder, manifest))
    return Scored(row, scores, codes, dimensions) if codes else None


@torch.no_grad()
def _dimensions(run_folder: Path, manifest: Path) -> tuple[int, int]:
    """Effective dimension of the latents of the test set and of the codebook, kept beside the scores."""
    kept = run_folder / "dimensions.json"
    if not kept.exists():
        codec = Codec.from_pretrained(run_folder / "run/last", device="cpu")
        latents = torch.cat([codec.encoder(_audio(codec, path))[0].T for path in _paths(manifest)])
        tokens = torch.arange(codec.codebook_size).unsqueeze(0)
        found = (effective_dimension(latents), effective_dimension(codec.quantizer.decode(tokens)[0].T))
        write_text(kept, json.dumps(found) + "\n")
    latent, codes = json.loads(kept.read_text(encoding="utf-8"))
    return latent, codes


def _paths(manifest: Path) -> list[Path]:
    return [utterance.path for utterance in read_manifest(manifest)]


def _audio(codec: Codec, path: Path) -> torch.Tensor:
    audio, rate = read(path)
    if rate != codec.sample_rate:
        raise CodecError(f"{path}: {rate} Hz; the study's test set is at {codec.sample_rate} Hz")
    return audio.reshape(1, 1, -1)


def interval(
    scores: dict[str, dict[str, float]], minus: dict[str, dict[str, float]] | None = None
) -> tuple[float, float, float]:
    """Mean and 95 % interval, of the paired difference where ``minus`` is given."""
    seeds = sorted(scores if minus is None else scores.keys() & minus.keys())
    tables = []
    for seed in seeds:
        ids = sorted(scores[seed])
        tables.append(np.array([scores[seed][i] - (minus[seed][i] if minus else 0.0) for i in ids]))
    generator = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = [tables[i] for i in generator.integers(len(tables), size=len(tables))]
        means.append(np.mean([np.mean(table[generator.integers(len(table), size=len(table))]) for table in drawn]))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(np.mean([table.mean() for table in tables])), float(low), float(high)


def markdown(rows: list[Scored]) -> str:
    """The table."""
    baseline = next((scored for scored in rows if scored.row.name == BASELINE), None)
    headings = [
        "",
        "seeds",
        *(heading for heading, _ in SHOWN.values()),
        "codes used",
        "effective dim., latents / codes",
    ]
    if baseline:
        headings.append(f"STOI minus {BASELINE}'s")
    lines = ["| " + " | ".join(headings) + " |", "|---|" + "---:|" * (len(headings) - 1)]
    for scored in rows:
        cells = [scored.row.title, str(len(scored.seeds))]
        for value, (_, digits) in SHOWN.items():
            mean, low, high = interval(scored.scores[value])
            cells.append(f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        cells.append(_spread(scored.codes_used))
        cells.append(" / ".join(_spread([pair[side] for pair in scored.dimensions]) for side in (0, 1)))
        if baseline:
            same = scored is baseline or not set(scored.seeds) & set(baseline.seeds)
            difference = None if same else interval(scored.scores["stoi"], baseline.scores["stoi"])
            cells.append("" if difference is None else "{:+.3f} ({:+.3f} to {:+.3f})".format(*difference))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _spread(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


@app.command()
def main(
    folder: Annotated[Path, typer.Option("--runs", help="Folder of the runs.")] = OUT,
    manifest: Annotated[Path, typer.Option(help="Test set, for the latents' dimension.")] = Path(
        "exp/mini/data/test-mini.jsonl"
    ),
    rows: Annotated[str | None, typer.Option(help="Comma-separated names; default: all.")] = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file with the study's marks.")] = None,
) -> None:
    """Print the table, and put it into a document."""
    found = [scored for row in pick(read_rows(), rows) if (scored := collect(row, folder, manifest))]
    if not found:
        raise CodecError(f"{folder}: no row is scored yet; run egs/mini/study.py first")
    table = markdown(found)
    print(table)
    if write is not None:
        text = write.read_text(encoding="utf-8")
        before, begin, rest = text.partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        if not (begin and end):
            raise CodecError(f"{write}: has no place for the table; put the lines {MARKS[0]} and {MARKS[1]} there")
        write_text(write, f"{before}{begin}\n\n{table}\n{end}{after}")


if __name__ == "__main__":
    run(app)
