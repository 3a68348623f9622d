"""Score a system on a test set.

    accelerate launch recipes/evaluate.py --model exp/mini/tiny/best --manifest data/test-clean.jsonl -o exp/mini/eval
    torchrun --nproc-per-node 8 recipes/evaluate.py --model ...    # eight processes on CPUs
    python recipes/evaluate.py --ground-truth --manifest data/test-clean.jsonl -o exp/ground-truth
    python recipes/evaluate.py --files other/codec/wavs --manifest data/test-clean.jsonl -o exp/other

Writes ``utterances.jsonl``, ``summary.json`` and ``summary.md``. Run again after a kill, it goes on where it stopped.
"""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import Annotated

import torch
import typer
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from codec.cli import run
from codec.cli.console import console as progress_console
from codec.errors import CodecError
from codec.evaluation import (
    METRICS,
    GroundTruth,
    MetricOptions,
    ModelSystem,
    ReconstructedFiles,
    System,
    build_metrics,
    evaluate,
    summarize,
    write_report,
)
from codec.evaluation.registry import check_names
from codec.evaluation.report import metric_rows
from codec.manifest import read_manifest

CACHE = Path("~/.cache/simvq-codec")
LONGEST_WAIT = datetime.timedelta(days=1)  # of a process for the others, whose share may hold the slowest file

app = typer.Typer(add_completion=False)
console = Console()


@app.command()
def main(
    manifest: Annotated[Path, typer.Option(help="Test set: JSON lines, one utterance a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    model: Annotated[Path | None, typer.Option(help="Score the codec of this model folder.")] = None,
    files: Annotated[Path | None, typer.Option(help="Score a folder of reconstructions, ID.wav each.")] = None,
    ground_truth: Annotated[bool, typer.Option("--ground-truth", help="Score the references themselves.")] = False,
    metrics: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(METRICS),
    sample_rate: Annotated[int, typer.Option(min=1, help="Hz, of --files and --ground-truth.")] = 24_000,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many utterances.")] = None,
    save_audio: Annotated[bool, typer.Option("--save-audio", help="Keep the reconstructions in OUTPUT/audio.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop the scores in OUTPUT and begin again.")] = False,
    cache: Annotated[Path, typer.Option(help="Folder for what depends on the references alone (pitch).")] = CACHE,
) -> None:
    """Reconstruct a test set, score it, and write per-utterance records and a summary."""
    names = check_names([name.strip() for name in metrics.split(",") if name.strip()])
    utterances = read_manifest(manifest)[:limit]
    # Said once in the report: the rate that everything is read at. Not once for every file.
    logging.getLogger("codec.audio").setLevel(logging.WARNING)
    state = PartialState(cpu=_on_cpu(), timeout=LONGEST_WAIT)
    if state.device.type == "cpu":
        # More threads sum in another order. Processes, of which each has one, fill the cores without that.
        torch.set_num_threads(1)
    system = _system(model, files, ground_truth, sample_rate, state.device)
    options = MetricOptions(system.sample_rate, state.device, cache.expanduser())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=progress_console, disable=not state.is_main_process) as bars:
        share = "scoring" if state.num_processes == 1 else f"scoring, share of process 1 of {state.num_processes}"
        task = bars.add_task(share, total=None)
        outcome = evaluate(
            system,
            utterances,
            build_metrics(names, options),
            output,
            state=state,
            save_audio=save_audio,
            overwrite=overwrite,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if state.is_main_process:
        summary = summarize(system, outcome, manifest.stem)
        write_report(output, summary)
        table = Table("metric", title=f"{system.name} on {manifest.stem}")
        for heading in ("mean", "95 % interval", "mean over speakers", "scored", "failed"):
            table.add_column(heading, justify="right")
        for row in metric_rows(summary):
            table.add_row(*row)
        console.print(table)
        console.print(f"{output / 'summary.md'} has the rest", markup=False, highlight=False, soft_wrap=True)
    state.destroy_process_group()


def _on_cpu() -> bool:
    """Whether Accelerate is to use the CPU. Unless told so it takes each of several CPU processes for the only one."""
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def _system(
    model: Path | None, files: Path | None, ground_truth: bool, sample_rate: int, device: torch.device
) -> System:
    if (model is not None) + (files is not None) + ground_truth != 1:
        raise CodecError("what is to be scored? give one of --model, --files and --ground-truth")
    if model is not None:
        return ModelSystem(model, device)
    if files is not None:
        return ReconstructedFiles(files, sample_rate)
    return GroundTruth(sample_rate)


if __name__ == "__main__":
    run(app)
