"""How much speech a training step gets through: audio-seconds a second, on the device at hand.

    python benchmarks/train_step.py --config egs/pretrained/conf/simvq_24khz_0.9kbps.yaml --batch 32 --crop-s 1
    python benchmarks/train_step.py --config egs/mini/conf/tiny.yaml --batch 8 --crop-s 0.75 -o exp/bench/tiny.json

Random audio of the right shape stands in for crops, so that the step itself is measured and not the disk. Reports the
median over the steps after a warm-up, the spread, and the peak memory.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run

app = typer.Typer(add_completion=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="YAML settings of a run.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 32,
    crop_s: Annotated[float, typer.Option(min=0.01)] = 1.0,
    steps: Annotated[int, typer.Option(min=3, help="Timed steps, after a third as many that are not.")] = 20,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Time whole training steps, both sides, through the bottleneck."""
    import torch
    from accelerate import Accelerator

    import codec.audio as audio_io
    from codec.config import load_run_config
    from codec.files import write_text
    from codec.manifest import Utterance, write_manifest
    from codec.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        # The trainer opens its manifest before anything else: one short recording will do.
        recording, manifest = Path(folder) / "noise.wav", Path(folder) / "noise.jsonl"
        audio_io.write(recording, 0.1 * torch.randn(24_000), 24_000)
        write_manifest(manifest, [Utterance("noise", recording, 24_000, 24_000)])
        fixed = [
            f"output={folder}/run",
            f"data.train=[{manifest}]",
            "data.validation=[]",
            f"data.batch_size={batch}",
            f"data.crop_s={crop_s}",
            "training.discriminator_start=0",
            "training.bottleneck_warmup.share=0.0",
        ]
        settings = load_run_config(config, [*(overrides or []), *fixed])
        accelerator = Accelerator(mixed_precision=settings.training.mixed_precision)
        trainer = Trainer(settings, accelerator)
        trainer.codec.train()
        audio = 0.1 * torch.randn(batch, 1, round(crop_s * settings.model.sample_rate), device=accelerator.device)
        cuda = accelerator.device.type == "cuda"
        times = []
        for index in range(-(-steps // 3) + steps):
            started = time.perf_counter()
            trainer.step([audio])
            if cuda:
                torch.cuda.synchronize()
            if index >= -(-steps // 3):
                times.append(time.perf_counter() - started)
        median = statistics.median(times)
        result = {
            "config": str(config),
            "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
            "precision": settings.training.mixed_precision,
            "batch": batch,
            "crop_s": crop_s,
            "step_s": median,
            "step_s_quartiles": statistics.quantiles(times, n=4)[::2],
            "audio_s_per_s": batch * crop_s / median,
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
        }
    if output:
        write_text(output, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    run(app)
