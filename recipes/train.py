"""Train a codec.

accelerate launch recipes/train.py --config egs/mini/conf/tiny.yaml
accelerate launch --multi_gpu recipes/train.py --config egs/libritts/conf/reference/simvq_4k.yaml training.seed=1
torchrun --nproc-per-node 2 recipes/train.py --config egs/mini/conf/tiny.yaml    # two processes on the CPU
accelerate launch recipes/train.py --config egs/mini/conf/tiny.yaml --resume
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run
from codec.config import RunConfig

app = typer.Typer(add_completion=False)


@app.command()
def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings on top of the file's.")
    ] = None,
    config: Annotated[Path, typer.Option(help="YAML settings of the run.")] = Path("egs/mini/conf/tiny.yaml"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    stop_at: Annotated[int | None, typer.Option(help="Stop at this step, with a checkpoint.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this time, with a checkpoint.", min=0)] = None,
) -> None:
    """Train a codec through Accelerate; the run folder is the setting ``output``."""
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from codec.config import load_run_config
    from codec.devices import on_cpu
    from codec.training.trainer import Trainer

    settings = load_run_config(config, overrides or [])
    # The only large buffer is the frozen codebook: the same everywhere from the start, so never sent again.
    data_parallel = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    accelerator = Accelerator(
        cpu=on_cpu(), mixed_precision=settings.training.mixed_precision, kwargs_handlers=[data_parallel]
    )
    if not accelerator.is_main_process:
        logging.getLogger("codec").setLevel(logging.WARNING)  # what happened is said once
    trainer = Trainer(settings, accelerator, resume=resume)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Speed over ten minutes: validation and checkpoints, which come seldom, are part of the time left.
    bar = Progress(*columns, console=console, disable=not accelerator.is_main_process, speed_estimate_period=600)
    with bar as progress:
        task = progress.add_task("training", total=settings.training.steps, completed=trainer.next_step)

        def report(step: int, values: Mapping[str, float]) -> None:
            progress.update(task, completed=step)
            if values:
                line = summary_line(step, values, settings)
                progress.console.print(line, highlight=False, soft_wrap=True)

        trainer.fit(stop_at=stop_at, minutes=minutes, report=report)
    if accelerator.is_main_process:
        best, last = trainer.run / "best", trainer.run / "last"
        model = f"{best}: the model" if best.exists() else f"{last}: an autoencoder, still warming up"
        print(f"{model}; {trainer.run / 'tensorboard'}: tensorboard --logdir shows the curves")
    accelerator.end_training()


SHOWN = {
    "loss/mel": "mel {:.3f}",
    "loss/commitment": "commitment {:.4f}",
    "loss/adversarial_period": "adversarial {:.2f}",
    "codes_used": "codes {:.0f}",
    "perplexity": "perplexity {:.0f}",
    "effective_dimension/latents": "latents fill {:.0f} dimensions",
    "effective_dimension/codebook": "codes {:.0f}",
    "grad_norm/generator": "norm {:.1f}",
    "audio_s_per_s": "{:.1f} s of audio/s",
    "bad_steps": "bad {:.0f}",
}


def summary_line(step: int, values: Mapping[str, float], settings: RunConfig) -> str:
    """One line for a person: step, kind, the values that tell most, and the time left at the present speed."""
    kind = next(iter(values), "train/").split("/")[0]
    parts = [form.format(values[f"{kind}/{name}"]) for name, form in SHOWN.items() if f"{kind}/{name}" in values]
    speed = values.get("train/audio_s_per_s")
    if speed:
        audio_s = (settings.training.steps - step) * settings.data.batch_size * settings.data.crop_s
        parts.append(f"{timedelta(seconds=round(audio_s / speed))} left")
    return f"step {step} {kind}: " + " · ".join(parts)


if __name__ == "__main__":
    run(app)
