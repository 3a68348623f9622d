"""Train a codec.

accelerate launch recipes/train.py --config egs/mini/conf/tiny.yaml
accelerate launch --multi_gpu recipes/train.py --config egs/libritts/conf/reference/simvq_4k.yaml training.seed=1
torchrun --nproc-per-node 2 recipes/train.py --config egs/mini/conf/tiny.yaml    # two processes on the CPU
accelerate launch recipes/train.py --config egs/mini/conf/tiny.yaml --resume
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

import codec.training.launcher  # noqa: F401  first, to know who started this
from codec.cli import run
from codec.cli.training import Minutes, Overrides, Resume, StopAt, fit_with_progress, log_on_one_process
from codec.config import RunConfig

app = typer.Typer(add_completion=False)


@app.command()
def train(
    overrides: Overrides = None,
    config: Annotated[Path, typer.Option(help="YAML settings of the run.")] = Path("egs/mini/conf/tiny.yaml"),
    resume: Resume = False,
    stop_at: StopAt = None,
    minutes: Minutes = None,
) -> None:
    """Train a codec through Accelerate; the run folder is the setting ``output``."""
    from accelerate import Accelerator, DistributedDataParallelKwargs

    from codec.config import load_run_config
    from codec.devices import on_cpu
    from codec.training.trainer import Trainer

    settings = load_run_config(config, overrides or [])
    # The only large buffer is the frozen codebook: the same everywhere from the start, so never sent again.
    data_parallel = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    accelerator = Accelerator(
        cpu=on_cpu(), mixed_precision=settings.training.mixed_precision, kwargs_handlers=[data_parallel]
    )
    log_on_one_process(accelerator.is_main_process)
    trainer = Trainer(settings, accelerator, resume=resume)
    fit_with_progress(
        trainer,
        settings.training.steps,
        lambda step, values: summary_line(step, values, settings),
        stop_at=stop_at,
        minutes=minutes,
        main_process=accelerator.is_main_process,
    )
    if accelerator.is_main_process:
        best, last = trainer.run / "best", trainer.run / "last"
        if best.exists():
            model = f"{best}: the model"
        elif trainer.next_step <= trainer.warmup_steps:
            model = f"{last}: an autoencoder, still warming up"
        else:
            model = f"{last}: the model so far, not validated yet"
        print(f"{model}; {trainer.run / 'tensorboard'}: tensorboard --logdir shows the curves")
    accelerator.end_training()


SHOWN = {
    "loss/mel": "mel {:.3f}",
    "loss/commitment": "commitment {:.4f}",
    "loss/adversarial_period": "adversarial {:.2f}",
    "codes_used": "codes {:.0f}",
    "perplexity": "perplexity {:.0f}",
    "effective_dimension/latents": "latents fill {:.0f} dimensions",
    "effective_dimension/codebook": "codes fill {:.0f}",
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
