"""Which parts of the recipe help: train every row of ``conf/study/rows.yaml`` with every seed, and score it.

    python egs/mini/study.py                                     # all rows, seeds 0, 1, 2; hours on two cores
    python egs/mini/study.py --rows reference,better --seeds 0   # some of them
    python egs/mini/study_table.py                               # the table of what is done
    python egs/mini/study.py --study egs/collapse/conf/codec_rows.yaml -o exp/collapse/codec   # other rows

Needs the manifests of ``egs/mini/run.sh --stop-stage 1``. Rows that are scored are not run again; a run that was
interrupted goes on. A row whose settings are no longer those it was trained with is refused before anything runs. Equal
steps and audio a step for every row, one process and one thread each, so that a row's result does not depend on what
else the machine does. What a run says goes to ``log.txt`` in its folder. A run that fails does not stop the others: its
reason stands in ``failed.txt`` there, and it is tried again the next time.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import Field

from codec.cli import run
from codec.cli.console import comma_separated
from codec.config import RunConfig, Settings, build, differences, load_run_config
from codec.config.loading import read_yaml
from codec.errors import CodecError
from codec.evaluation import METRICS as _METRICS  # noqa: F401 - loaded before the runs fork
from codec.files import write_text
from codec.training.checkpoint import CONFIG, find_checkpoints
from codec.training.trainer import Trainer as _Trainer  # noqa: F401 - likewise

CONF = Path("egs/mini/conf/study")
ROWS = CONF / "rows.yaml"
OUT = Path("exp/study")
TEST_SET = Path("exp/mini/data/test-mini.jsonl")
METRICS = "pesq,stoi,mel"
SCORED, FAILED, LOG = Path("scores/summary.json"), "failed.txt", "log.txt"  # in a run's folder

app = typer.Typer(add_completion=False)


class Row(Settings):
    """One recipe of the table."""

    name: str
    title: str
    config: str  # beside the file of rows
    set: tuple[str, ...] = ()  # overrides


class Rows(Settings):
    """The whole study."""

    rows: tuple[Row, ...] = Field(min_length=1)


def read_rows(path: Path = ROWS) -> dict[str, Row]:
    """All rows by name, in the order of the table; each with the whole path of its settings file."""
    rows = build(Rows, read_yaml(path), str(path)).rows
    return {row.name: row.model_copy(update={"config": str(path.parent.absolute() / row.config)}) for row in rows}


def pick(rows: dict[str, Row], names: str | None, file: str = ROWS.name) -> list[Row]:
    """The rows that are asked for, in the order asked."""
    if names is None:
        return list(rows.values())
    wanted = comma_separated(names)
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        raise CodecError(f"--rows: {', '.join(unknown)} not in {file}; known are {', '.join(rows)}")
    return [rows[name] for name in wanted]


@app.command()
def main(
    rows: Annotated[str | None, typer.Option(help="Comma-separated names; default: all.")] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0,1,2",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the runs; another for other rows.")] = OUT,
    study: Annotated[Path | None, typer.Option(metavar="FILE", help=f"Rows; default: {ROWS}.")] = None,
    test_set: Annotated[Path, typer.Option(help="Manifest that is scored.")] = TEST_SET,
    extra: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="On top of every row.")
    ] = None,
) -> None:
    """Train and score, seed by seed, so that an early stop leaves whole tables of fewer seeds."""
    chosen = pick(read_rows(), rows) if study is None else pick(read_rows(study), rows, study.name)
    runs = [(row, seed, output / row.name / f"seed_{seed}") for seed in seeds.split(",") for row in chosen]
    for row, seed, folder in runs:
        check_unchanged(row, seed, folder, extra or [])
    failed = []
    for row, seed, folder in runs:
        if not (folder / SCORED).exists():
            print(f"== {row.name}, seed {seed}", flush=True)
            try:
                train_and_score(row, seed, folder, extra or [], test_set)
            except CodecError as error:
                print(f"failed: {error}", flush=True)
                failed.append(f"{row.name}, seed {seed}")
    if failed:
        raise CodecError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}; their {FAILED} say why")


def train_and_score(row: Row, seed: str, folder: Path, extra: list[str], test_set: Path = TEST_SET) -> None:
    """One run, to its end.

    Raises:
        CodecError: it failed; the reason is in its folder, and nothing else is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILED).unlink(missing_ok=True)
    begin = time.monotonic()
    try:
        train(row, seed, folder, extra)
        _run("recipes/evaluate.py", folder / LOG, "--model", folder / "run/last", "--manifest", test_set, "--metrics",
             METRICS, "--workers", 0, "-o", folder / "scores")  # fmt: skip
    except CodecError as error:
        write_text(folder / FAILED, f"{error}\n")
        raise
    print(f"{time.monotonic() - begin:.0f} s", flush=True)


def overrides(row: Row, seed: str, folder: Path, extra: list[str]) -> list[str]:
    """What a run has on top of its settings file."""
    return [*row.set, *extra, f"training.seed={seed}", f"output={folder / 'run'}"]


def check_unchanged(row: Row, seed: str, folder: Path, extra: list[str]) -> None:
    """Refuse what has been trained, or begun, with other settings than the row has now.

    Raises:
        CodecError: they differ (another ``output`` is no difference), or they are no settings.
    """
    wanted = load_run_config(row.config, overrides(row, seed, folder, extra))
    if not find_checkpoints(folder / "run"):  # nothing to lose
        return
    for key, was, now in differences(_anywhere(load_run_config(folder / "run" / CONFIG)), _anywhere(wanted)):
        raise CodecError(
            f"{folder}: trained with {key}={was!r}, but row {row.name} now says {now!r}; remove that folder to train "
            "it again, or use another for the whole study"
        )


def _anywhere(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"output": ""})


def train(row: Row, seed: str, folder: Path, extra: list[str]) -> None:
    """The training alone."""
    resume = ["--resume"] if find_checkpoints(folder / "run") else []
    _run("recipes/train.py", folder / LOG, "--config", row.config, *resume, *overrides(row, seed, folder, extra))


def _run(script: str, log: Path, *arguments: object) -> None:
    """A recipe in a process of its own, forked from this one so that the libraries are loaded once for all runs.

    Raises:
        CodecError: it failed, with the last line that it said.
        KeyboardInterrupt: somebody ended it.
    """
    words = [str(argument) for argument in arguments]
    process = multiprocessing.get_context("fork").Process(target=_recipe, args=(script, log, words))
    process.start()
    process.join()
    if process.exitcode in (-signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    if process.exitcode:
        said = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        last = next((line for line in reversed(said) if line), "it said nothing")
        raise CodecError(f"{script} ended with exit code {process.exitcode}: {last.removeprefix('error: ')}")


def _recipe(script: str, log: Path, arguments: list[str]) -> None:
    file = log.open("a", encoding="utf-8", buffering=1)  # until the process ends
    sys.stdout = sys.stderr = file
    for descriptor in (1, 2):
        os.dup2(file.fileno(), descriptor)
    sys.argv = [script, *arguments]
    torch.set_num_threads(1)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    run(app)
