"""Score a system on a test set.

    accelerate launch recipes/evaluate.py --system exp/mini/tiny/best --manifest data/test-clean.jsonl -o exp/mini/eval
    torchrun --nproc-per-node 8 recipes/evaluate.py --system ...    # eight processes on CPUs
    python recipes/evaluate.py --system opus:6 --manifest data/test-clean.jsonl -o exp/opus-6

    accelerate launch recipes/evaluate.py --system mimi:8 --test-set test-clean,test-other -o exp/libritts/mimi-8

A system is a model folder, ``model:NAME``, a published SimVQ or WavTokenizer checkpoint, ``ground-truth``,
``files:DIR``, ``resample:16000``, ``opus:6``, ``codec2:1300``, ``speex:1``, ``encodec:6``, ``dac:9`` or ``mimi:8``.

Writes ``utterances.jsonl`` and ``summary.json``, ``.csv`` and ``.md``, with --test-set for each of the sets. Run again
after a kill, it goes on where it stopped. A system whose program or weights are not installed is no failure: the folder
gets a note that ``codec report`` puts into the table.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import torch
import typer
from accelerate import PartialState
from accelerate.utils import gather_object
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from codec.cli import run
from codec.cli.console import comma_separated
from codec.cli.console import console as progress_console
from codec.devices import on_cpu
from codec.errors import CodecError
from codec.evaluation import (
    METRICS,
    MetricOptions,
    Outcome,
    Protocol,
    System,
    SystemOptions,
    build_metrics,
    build_system,
    evaluate,
    summarize,
    write_report,
)
from codec.evaluation.pool import default_workers
from codec.evaluation.registry import DEFAULT, check_names
from codec.evaluation.report import metric_rows
from codec.evaluation.runner import check_ids
from codec.evaluation.speed import write_speed
from codec.evaluation.system_names import EXAMPLES, GROUND_TRUTH
from codec.evaluation.test_sets import LIBRITTS_DATA, find_test_sets, read_test_set
from codec.evaluation.unavailable import SystemUnavailableError, write_unavailable
from codec.evaluation.weights import CACHE, UTMOS_FILE
from codec.manifest import Utterance

LONGEST_WAIT = datetime.timedelta(days=1)  # of a process for the others, whose share may hold the slowest file

logger = logging.getLogger(__name__)
app = typer.Typer(add_completion=False)
console = Console()


@app.command()
def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    manifest: Annotated[Path | None, typer.Option(help="Test set: JSON lines, one utterance a line.")] = None,
    test_set: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Prepared splits, each into a folder of its name in OUTPUT."),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder with the manifests of --test-set.")] = LIBRITTS_DATA,
    system: Annotated[str | None, typer.Option(metavar="NAME", help=f"What is scored: {EXAMPLES}.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The same as --system model:NAME.")] = None,
    files: Annotated[Path | None, typer.Option(help="The same as --system files:DIR.")] = None,
    ground_truth: Annotated[bool, typer.Option("--ground-truth", help="The same as --system ground-truth.")] = False,
    metrics: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(METRICS)}; or all.")] = ",".join(
        DEFAULT
    ),
    protocol: Annotated[
        Protocol, typer.Option(help="strict, or published: the authors' script with its flaws, to meet their tables.")
    ] = Protocol.STRICT,
    sample_rate: Annotated[int, typer.Option(min=1, help="Hz at which all but models are compared.")] = 24_000,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many utterances.")] = None,
    save_audio: Annotated[bool, typer.Option("--save-audio", help="Keep the reconstructions in OUTPUT/audio.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop the scores in OUTPUT and begin again.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes for metrics beside each process's model; default: its share of the cores."),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder for the references' pitch, and for weights.")] = CACHE,
    utmos_weights: Annotated[
        Path | None, typer.Option(help="Weights of UTMOS, where they are not those of codec fetch utmos.")
    ] = None,
    recogniser: Annotated[
        str | None, typer.Option(metavar="NAME", help="CTC model of transformers for wer: a folder, or OWNER/NAME.")
    ] = None,
    speaker_network: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="x-vector model of transformers for sim: a folder, or OWNER/NAME."),
    ] = None,
) -> None:
    """Reconstruct a test set, score it, and write per-utterance records and a summary."""
    names = check_names(comma_separated(metrics))
    if utmos_weights is not None and not utmos_weights.is_file():
        raise CodecError(f"{utmos_weights}: no such file; give the weights that codec fetch utmos downloads")
    spec = _one_of(system, model, files, ground_truth)
    test_sets = _test_sets(manifest, test_set, data, output, limit)
    if save_audio:  # of all sets now, not of the second when the first is scored
        check_ids([utterance for found in test_sets for utterance in found.utterances])
    # Said once in the report: the rate that everything is read at. Not once for every file.
    logging.getLogger("codec.audio").setLevel(logging.WARNING)
    state = PartialState(cpu=on_cpu(), timeout=LONGEST_WAIT)
    if state.device.type == "cpu":
        # More threads sum in another order. Processes, of which each has one, fill the cores without that.
        torch.set_num_threads(1)
    under_test, missing = _system(spec, SystemOptions(sample_rate, state.device, protocol))
    if under_test is None:
        if state.is_main_process:  # for codec report, which then says so rather than nothing
            for found in test_sets:
                write_unavailable(found.folder, spec, missing)
            console.print(f"{spec}: not available: {missing}", markup=False, highlight=False, soft_wrap=True)
        state.destroy_process_group()
        return
    options = MetricOptions(
        under_test.sample_rate,
        state.device,
        protocol,
        cache.expanduser(),
        utmos_weights or cache.expanduser() / UTMOS_FILE,
        recogniser,
        speaker_network,
    )
    built = build_metrics(names, options)
    silent: list[str] = []  # test sets of which nothing could be scored
    for found in test_sets:
        if found.left_out and state.is_main_process:
            more = f", and {len(found.left_out) - 1} more" if len(found.left_out) > 1 else ""
            logger.warning("%s: %s%s; not scored", found.name, found.left_out[0], more)
        own_workers = default_workers(len(found.utterances), state.num_processes) if workers is None else workers
        with _bar(state) as progress:
            outcome = evaluate(
                under_test,
                found.utterances,
                built,
                found.folder,
                protocol=protocol,
                state=state,
                save_audio=save_audio,
                overwrite=overwrite,
                workers=own_workers,
                progress=progress,
            )
        if state.is_main_process:
            summary = summarize(under_test, outcome, found.name, found.left_out)
            _report(found.folder, summary, outcome, state, own_workers)
            if len(errors := summary["errors"]) == summary["utterances"]:
                silent.append(f"{found.name}: not one of {len(errors)} utterances could be scored; see above")
    state.destroy_process_group()
    if silent:
        raise CodecError("; ".join(silent))


def _system(spec: str, options: SystemOptions) -> tuple[System | None, str]:
    """The system, or None and what is missing. All processes agree: on another machine a program may be missing."""
    found, missing = None, ""
    try:
        found = build_system(spec, options)
    except SystemUnavailableError as error:
        missing = str(error).removeprefix(f"{spec}: ")
    lacking = [reason for reason in gather_object([missing]) if reason]
    return (None, lacking[0]) if lacking else (found, "")


@contextmanager
def _bar(state: PartialState) -> Iterator[Callable[[int, int], None]]:
    """Progress of process 1 on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=progress_console, disable=not state.is_main_process) as bars:
        share = "scoring" if state.num_processes == 1 else f"scoring, share of process 1 of {state.num_processes}"
        task = bars.add_task(share, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _report(folder: Path, summary: dict[str, Any], outcome: Outcome, state: PartialState, workers: int) -> None:
    """Write what was found, and say it."""
    write_report(folder, summary)
    threads = ", one thread each" if state.device.type == "cpu" else ""
    conditions = f"{state.device.type}, processes: {state.num_processes}{threads}, scoring workers: {workers}"
    write_speed(folder, outcome.speed, conditions)
    table = Table("metric", title=f"{summary['system']['name']} on {summary['test_set']}")
    for heading in ("mean", "95 % interval", "mean over speakers", "scored", "failed"):
        table.add_column(heading, justify="right")
    for row in metric_rows(summary):
        table.add_row(*row)
    console.print(table)
    for reason, ids in _by_reason(summary["errors"]).items():
        which = ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"
        logger.warning("no reconstruction of %s: %s", which, reason)
    for name, reason in outcome.unavailable.items():
        console.print(f"{name}: not available: {reason}", markup=False, highlight=False, soft_wrap=True)
    if outcome.speed.utterances:
        console.print(outcome.speed.line(conditions), highlight=False, soft_wrap=True)
    console.print(f"{folder / 'summary.md'} has the rest", markup=False, highlight=False, soft_wrap=True)


def _by_reason(errors: Mapping[str, str]) -> dict[str, list[str]]:
    """Ids by why nothing was scored of them."""
    reasons: dict[str, list[str]] = {}
    for id_, reason in errors.items():
        reasons.setdefault(reason, []).append(id_)
    return reasons


@dataclass(frozen=True)
class _TestSet:
    """What is scored, and where the results go."""

    folder: Path
    name: str
    utterances: list[Utterance]
    left_out: list[str]  # of the manifest, a reason each

    @classmethod
    def read(cls, folder: Path, manifest: Path, limit: int | None) -> Self:
        """All of a manifest, or its first ``limit``."""
        utterances, left_out = read_test_set(manifest)
        return cls(folder, manifest.stem, utterances[:limit], left_out)


def _test_sets(manifest: Path | None, names: str | None, data: Path, output: Path, limit: int | None) -> list[_TestSet]:
    if (manifest is None) == (names is None):
        raise CodecError(
            "what is it scored on? give one of --manifest FILE and --test-set NAME,NAME (prepared splits, see --data)"
        )
    if manifest is not None:
        return [_TestSet.read(output, manifest, limit)]
    assert names is not None
    paths = find_test_sets(comma_separated(names), data)
    return [_TestSet.read(output / name, path, limit) for name, path in paths.items()]


def _one_of(system: str | None, model: str | None, files: Path | None, ground_truth: bool) -> str:
    """The one system that is asked for, as ``--system`` names it."""
    given = [] if system is None else [system]
    if model is not None:
        given.append(f"model:{model}")
    if files is not None:
        given.append(f"files:{files}")
    if ground_truth:
        given.append(GROUND_TRUTH)
    if len(given) != 1:
        raise CodecError(f"what is to be scored? give one --system; {EXAMPLES}")
    return given[0]


if __name__ == "__main__":
    run(app)
