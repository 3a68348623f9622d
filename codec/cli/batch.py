"""What encoding and decoding share: many files, some at a time, of which one may fail."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from codec.cli.console import console, facts, say, working
from codec.errors import CodecError
from codec.folders import Plan, Task, by_length

if TYPE_CHECKING:
    from codec.transcoding import Outcome, Transcoded

Work = Callable[[Path, Path], "Transcoded"]  # source, output


class Together(NamedTuple):
    """How many files go through a model at once."""

    batch_s: float  # seconds of audio of a group, padding included
    work: Callable[[Sequence[Task]], list[Outcome]]
    durations_s: Callable[[Sequence[Task]], list[float]]


def run_batch(
    plan: Plan,
    output: Path | None,
    work: Work,
    stop: Callable[[], None],
    *,
    jobs: int,
    force: bool,
    together: Together | None = None,
    check_kept: Callable[[Sequence[Task]], None] | None = None,
) -> None:
    """Do every task of a plan, and print a summary on stdout. What fails is reported on stderr.

    Outputs that are there already are kept, unless ``force``. That recordings are mixed down or resampled is said once
    for all that need the same.

    Args:
        plan: what to do.
        output: the folder, for the summary; None: each is beside its source.
        work: does one task.
        stop: ends what is in work in other threads, after Ctrl-C.
        jobs: tasks, or groups of them, at a time.
        force: replace what is there.
        together: does a group of tasks. None: each task is done by itself.
        check_kept: refuses outputs that are there already, before anything is done; gets their tasks. None: all are
            kept as they are.

    Raises:
        CodecError: what ``check_kept`` raises.
        typer.Exit: code 2 at the end, if anything failed.
    """
    kept = [] if force else [task for task in plan.tasks if os.path.lexists(task.output)]
    if check_kept and kept:
        with working(f"looking at {len(kept)} files that are there already"):
            check_kept(kept)
    started = time.perf_counter()
    for line in plan.unreadable:
        say("error", line, "bold red")
    there = set(kept)
    tasks = [task for task in plan.tasks if task not in there]
    groups = [[task] for task in tasks]
    if together:
        groups = by_length(tasks, together.durations_s(tasks), together.batch_s)
    failed, done = len(plan.unreadable), []
    with _changes_together(), _bar(len(tasks)) as advance:
        for outcome in _outcomes(groups, work, stop, together, jobs):
            if isinstance(outcome, CodecError):
                failed += 1
                say("error", str(outcome), "bold red")
            else:
                done.append(outcome)
            advance()
    duration_s, tokens, num_bytes = (sum(column) for column in zip(*done, strict=True)) if done else (0.0, 0, 0)
    line = f"{len(done)} files" if output is None else f"{output}: {len(done)} files"
    if done:
        line += ", " + facts(duration_s, int(tokens), int(num_bytes), time.perf_counter() - started)
    if kept:
        line += f"; {len(kept)} were there already (--force makes them again)"
    typer.echo(line + (f"; {failed} failed" if failed else ""))
    if failed:
        raise typer.Exit(2)


def _outcomes(
    groups: list[list[Task]], work: Work, stop: Callable[[], None], together: Together | None, jobs: int
) -> Iterator[Outcome]:
    def attempt(group: list[Task]) -> list[Outcome]:
        if together and len(group) > 1:
            return together.work(group)
        try:
            return [work(*task) for task in group]
        except CodecError as error:  # a group is one task here
            return [error]

    if jobs == 1:  # in this thread, where Ctrl-C is heard at once
        for group in groups:
            yield from attempt(group)
        return
    import torch

    # Threads share the weights. Each computes on its part of the cores, or they would stand in each other's way.
    cores = max(1, torch.get_num_threads() // jobs)
    with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(cores,)) as pool:
        try:
            for future in as_completed([pool.submit(attempt, group) for group in groups]):
                yield from future.result()
        except BaseException:  # Ctrl-C, or an error of ours
            stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class _Changes(logging.Filter):
    """Counts what recordings need, in the place of a line for each."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        changes = getattr(record, "changes", None)
        if changes is not None:
            with self._lock:
                self.counts[changes] += 1
        return changes is None


@contextmanager
def _changes_together() -> Iterator[None]:
    from codec.audio.blocks import logger

    changes = _Changes()
    logger.addFilter(changes)
    try:
        yield
    finally:
        logger.removeFilter(changes)
        for text, files in changes.counts.most_common():
            say("", f"{files} files: {text}")


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=total)
        yield lambda: bars.advance(task)
