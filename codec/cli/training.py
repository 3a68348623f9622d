"""What the training recipes share: their options, and the bar and lines of a run on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Protocol

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings on top of the file's.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]
StopAt = Annotated[int | None, typer.Option(help="Stop at this step, with a checkpoint.", min=1)]
Minutes = Annotated[float | None, typer.Option(help="Stop after this time, with a checkpoint.", min=0)]

Line = Callable[[int, Mapping[str, float]], str]


class Fitting(Protocol):
    """A trainer."""

    next_step: int

    def fit(
        self,
        *,
        stop_at: int | None = None,
        minutes: float | None = None,
        report: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> None:
        """Train, and report every step, with values where there is a line to log."""


def log_on_one_process(main_process: bool) -> None:
    """What happened is said once."""
    if not main_process:
        logging.getLogger("codec").setLevel(logging.WARNING)


def fit_with_progress(
    trainer: Fitting, steps: int, line: Line, *, stop_at: int | None, minutes: float | None, main_process: bool
) -> None:
    """Train under a bar with the time left, and say a line at every log step.

    Args:
        trainer: what is trained.
        steps: of the whole run.
        line: makes one of a step and its values.
        stop_at: as of ``trainer.fit``.
        minutes: likewise.
        main_process: whether this one speaks.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Speed over ten minutes: validation and checkpoints, which come seldom, are part of the time left.
    bar = Progress(*columns, console=Console(stderr=True), disable=not main_process, speed_estimate_period=600)
    with bar as progress:
        task = progress.add_task("training", total=steps, completed=trainer.next_step)

        def report(step: int, values: Mapping[str, float]) -> None:
            progress.update(task, completed=step)
            if values and main_process:
                progress.console.print(line(step, values), highlight=False, soft_wrap=True)

        trainer.fit(stop_at=stop_at, minutes=minutes, report=report)
