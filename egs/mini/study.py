"""Which parts of the recipe help: train every row of ``conf/study/rows.yaml`` with every seed, and score it.

    python egs/mini/study.py                                     # all rows, seeds 0, 1, 2; hours on two cores
    python egs/mini/study.py --rows reference,better --seeds 0   # some of them
    python egs/mini/study_table.py                               # the table of what is done

Needs the manifests of ``egs/mini/run.sh --stop-stage 1``. Rows that are scored are not run again; a run that was
interrupted goes on. Equal steps and audio a step for every row, one process and one thread each, so that a row's result
does not depend on what else the machine does.
"""

from __future__ import annotations

import multiprocessing
import runpy
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import Field

from codec.cli import run
from codec.config import Settings, build
from codec.config.loading import read_yaml
from codec.errors import CodecError
from codec.evaluation import METRICS as _METRICS  # noqa: F401 - loaded before the runs fork
from codec.training.trainer import Trainer as _Trainer  # noqa: F401 - likewise

CONF = Path("egs/mini/conf/study")
OUT = Path("exp/study")
TEST_SET = Path("exp/mini/data/test-mini.jsonl")
METRICS = "pesq,stoi,mel"

app = typer.Typer(add_completion=False)


class Row(Settings):
    """One recipe of the table."""

    name: str
    title: str
    config: str  # beside rows.yaml
    set: tuple[str, ...] = ()  # overrides


class Rows(Settings):
    """The whole study."""

    rows: tuple[Row, ...] = Field(min_length=1)


def read_rows(path: Path = CONF / "rows.yaml") -> dict[str, Row]:
    """All rows by name, in the order of the table."""
    return {row.name: row for row in build(Rows, read_yaml(path), str(path)).rows}


def pick(rows: dict[str, Row], names: str | None) -> list[Row]:
    """The rows that are asked for, in the order asked."""
    if names is None:
        return list(rows.values())
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        raise CodecError(f"--rows: {', '.join(unknown)} not in rows.yaml; known are {', '.join(rows)}")
    return [rows[name] for name in wanted]


@app.command()
def main(
    rows: Annotated[str | None, typer.Option(help="Comma-separated names; default: all.")] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0,1,2",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the runs.")] = OUT,
    extra: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="On top of every row.")
    ] = None,
) -> None:
    """Train and score, seed by seed, so that an early stop leaves whole tables of fewer seeds."""
    chosen = pick(read_rows(), rows)
    for seed in seeds.split(","):
        for row in chosen:
            folder = output / row.name / f"seed_{seed}"
            if (folder / "scores" / "summary.json").exists():
                continue
            print(f"== {row.name}, seed {seed}", flush=True)
            train(row, seed, folder, extra or [])
            _run("recipes/evaluate.py", "--model", folder / "run/last", "--manifest", TEST_SET, "--metrics", METRICS,
                 "--workers", 0, "-o", folder / "scores")  # fmt: skip


def train(row: Row, seed: str, folder: Path, extra: list[str]) -> None:
    """One run, to its end."""
    resume = ["--resume"] if any((folder / "run/checkpoints").glob("step_*")) else []
    settings = [*row.set, *extra, f"training.seed={seed}", f"output={folder / 'run'}"]
    _run("recipes/train.py", "--config", CONF / row.config, *resume, *settings)


def _run(script: str, *arguments: object) -> None:
    """A recipe in a process of its own, forked from this one so that the libraries are loaded once for all runs."""
    process = multiprocessing.get_context("fork").Process(target=_recipe, args=(script, [str(a) for a in arguments]))
    process.start()
    process.join()
    if process.exitcode:
        raise CodecError(f"{script} ended with exit code {process.exitcode}; what was finished is kept")


def _recipe(script: str, arguments: list[str]) -> None:
    sys.argv = [script, *arguments]
    torch.set_num_threads(1)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    run(app)
