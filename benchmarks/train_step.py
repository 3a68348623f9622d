"""How much speech a training step gets through: audio-seconds a second, on the device at hand.

    python benchmarks/train_step.py --config egs/libritts/conf/better/simvq_4k.yaml --batch 32 --crop-s 3 \
        --twin egs/libritts/conf/reference/simvq_4k.yaml -o exp/bench/train_better_3s.json
    python benchmarks/train_step.py --config egs/mini/conf/tiny.yaml --batch 8 --crop-s 0.75

Noise of the right shape stands in for crops, so that the step itself is measured and not the disk. ``--twin`` times the
published step (benchmarks/naive) in turn with ours, at the sizes and objective of another configuration and in our
precision.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from naive.training import NaiveTraining

from codec.benchmarking.profiling import profiled
from codec.benchmarking.timing import Work, measure
from codec.benchmarking.training import crops, make_trainer
from codec.cli import run
from codec.config import load_run_config
from codec.files import write_text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="YAML settings of a run.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 32,
    crop_s: Annotated[float, typer.Option(min=0.01)] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps, after two that are not.")] = 20,
    twin: Annotated[Path | None, typer.Option(help="Settings of the naive twin.")] = None,
    profile: Annotated[Path | None, typer.Option(help="Text file: where one of our steps spends its time.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Time whole training steps, both sides, through the bottleneck."""
    with TemporaryDirectory(prefix="codec-") as ours, TemporaryDirectory(prefix="codec-") as theirs:
        trainer = make_trainer(load_run_config(config, overrides or []), Path(ours), batch, crop_s)
        audio = crops(trainer)
        work: dict[str, Work] = {"ours": lambda: trainer.step([audio])}
        if twin is not None:
            # The second is the process': what it is set to last holds for both.
            settings = trainer.config.training
            same = [f"training.{name}={getattr(settings, name)}" for name in ("mixed_precision", "cudnn_benchmark")]
            other = make_trainer(load_run_config(twin, same), Path(theirs), batch, crop_s)
            naive = NaiveTraining(other.plain_codec, other.plain_discriminators, other.config)
            work["twin"] = lambda: naive.step(audio)
        device = trainer.accelerator.device
        work["ours"]()  # compiles, where that is asked for
        timings = measure(work, device, runs=steps)
        where = torch.cuda.get_device_name() if device.type == "cuda" else device.type
        if device.type == "cpu":
            where += f", {torch.get_num_threads()} threads"
        result: dict[str, Any] = {
            "config": str(config),
            "twin": None if twin is None else str(twin),
            "device": where,
            "precision": trainer.config.training.mixed_precision,
            "compiled": trainer.config.training.compile,
            "batch": batch,
            "crop_s": crop_s,
        }
        for name, timing in timings.items():
            result[name + "_step"] = asdict(timing)
            result[name + "_audio_s_per_s"] = batch * crop_s / timing.median_s
        if twin is not None:
            result["ratio"] = timings["twin"].median_s / timings["ours"].median_s
        if output:
            write_text(output, json.dumps(result, indent=2) + "\n")
        print(json.dumps(result))
        if profile:  # last: it may be what time runs out in
            write_text(profile, profiled(work["ours"], device))


if __name__ == "__main__":
    run(app)
