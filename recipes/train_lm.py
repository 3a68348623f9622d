"""Train a language model on tokens.

accelerate launch recipes/train_lm.py --config egs/lm/mini.yaml
accelerate launch --multi_gpu recipes/train_lm.py --config egs/lm/small.yaml training.seed=1
torchrun --nproc-per-node 2 recipes/train_lm.py --config egs/lm/mini.yaml    # two processes on the CPU
accelerate launch recipes/train_lm.py --config egs/lm/mini.yaml --resume

``docs/language_models.md`` has the road from a corpus to sampled speech.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run

app = typer.Typer(add_completion=False)


@app.command()
def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings on top of the file's.")
    ] = None,
    config: Annotated[Path, typer.Option(help="YAML settings of the run.")] = Path("egs/lm/mini.yaml"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    stop_at: Annotated[int | None, typer.Option(help="Stop at this step, with a checkpoint.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this time, with a checkpoint.", min=0)] = None,
) -> None:
    """Train a causal transformer through Accelerate; the run folder is the setting ``output``."""
    from accelerate import Accelerator
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from codec.config import load_config
    from codec.config.lm import LMConfig
    from codec.devices import on_cpu
    from codec.lm.trainer import LMTrainer

    settings = load_config(LMConfig, config, overrides or [])
    accelerator = Accelerator(cpu=on_cpu(), mixed_precision=settings.training.mixed_precision)
    # Tied tables are saved once, which Accelerate tells at every checkpoint.
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
    if not accelerator.is_main_process:
        logging.getLogger("codec").setLevel(logging.WARNING)  # what happened is said once
    trainer = LMTrainer(settings, accelerator, resume=resume)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not accelerator.is_main_process) as progress:
        task = progress.add_task("training", total=settings.training.steps, completed=trainer.next_step)

        def report(step: int, values: Mapping[str, float]) -> None:
            progress.update(task, completed=step)
            if values and accelerator.is_main_process:
                progress.console.print(summary_line(step, values), highlight=False, soft_wrap=True)

        trainer.fit(stop_at=stop_at, minutes=minutes, report=report)
    if accelerator.is_main_process:
        print(
            f"{trainer.run / 'best'}: the model; {trainer.run / 'tensorboard'}: tensorboard --logdir shows the curves"
        )
    accelerator.end_training()


SHOWN = {
    "bits_a_token": "{:.3f} bits a token",
    "validation_bits_a_token": "validation {:.3f} bits a token",
    "grad_norm": "norm {:.2f}",
    "tokens_per_s": "{:.0f} tokens/s",
    "bad_steps": "bad {:.0f}",
}


def summary_line(step: int, values: Mapping[str, float]) -> str:
    """One line for a person."""
    return f"step {step}: " + " · ".join(form.format(values[name]) for name, form in SHOWN.items() if name in values)


if __name__ == "__main__":
    run(app)
