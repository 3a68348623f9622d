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

import codec.training.launcher  # noqa: F401  first, to know who started this
from codec.cli import run
from codec.cli.training import Minutes, Overrides, Resume, StopAt, fit_with_progress, log_on_one_process

app = typer.Typer(add_completion=False)


@app.command()
def train(
    overrides: Overrides = None,
    config: Annotated[Path, typer.Option(help="YAML settings of the run.")] = Path("egs/lm/mini.yaml"),
    resume: Resume = False,
    stop_at: StopAt = None,
    minutes: Minutes = None,
) -> None:
    """Train a causal transformer through Accelerate; the run folder is the setting ``output``."""
    from accelerate import Accelerator

    from codec.config import load_config
    from codec.config.lm import LMConfig
    from codec.devices import on_cpu
    from codec.lm.trainer import LMTrainer

    settings = load_config(LMConfig, config, overrides or [])
    accelerator = Accelerator(cpu=on_cpu(), mixed_precision=settings.training.mixed_precision)
    # Tied tables are saved once, which Accelerate tells at every checkpoint.
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
    log_on_one_process(accelerator.is_main_process)
    trainer = LMTrainer(settings, accelerator, resume=resume)
    fit_with_progress(
        trainer,
        settings.training.steps,
        summary_line,
        stop_at=stop_at,
        minutes=minutes,
        main_process=accelerator.is_main_process,
    )
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
