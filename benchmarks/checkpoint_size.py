"""Size of a whole training state, file by file, and what writing one costs.

    python benchmarks/checkpoint_size.py --preset reference

One step on a moment of noise makes the optimisers' moments; every size is then that of any run with these sizes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run

app = typer.Typer(add_completion=False)


@app.command()
def measure(preset: Annotated[str, typer.Option(help="Sizes of the model.")] = "reference") -> None:
    """Print the files of a checkpoint with their sizes."""
    import torch
    from accelerate import Accelerator

    import codec.audio as audio_io
    from codec.config import RunConfig, build
    from codec.config.model import preset_sizes
    from codec.devices import on_cpu
    from codec.manifest import Utterance, write_manifest
    from codec.training.checkpoint import save_checkpoint
    from codec.training.trainer import Trainer

    with tempfile.TemporaryDirectory(prefix="codec-") as name:
        folder = Path(name)
        audio_io.write(folder / "noise.wav", 0.1 * torch.randn(24_000), 24_000)
        write_manifest(folder / "noise.jsonl", [Utterance("noise", folder / "noise.wav", 24_000, 24_000)])
        data = {"train": [str(folder / "noise.jsonl")], "batch_size": 1, "crop_s": 0.1, "workers": 0}
        settings = build(
            RunConfig, {"output": str(folder / "run"), "model": dict(preset_sizes(preset)), "data": data}, preset
        )
        trainer = Trainer(settings, Accelerator(cpu=on_cpu()))
        trainer.codec.train()
        trainer.step([0.1 * torch.randn(1, 1, 2400, device=trainer.accelerator.device)])
        started, cpu = time.perf_counter(), time.process_time()
        save_checkpoint(trainer.accelerator, trainer.run, 1, settings.training)
        elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        files = sorted(path for path in (trainer.run / "checkpoints" / "step_1").rglob("*") if path.is_file())
        for path in files:
            typer.echo(f"{path.name:28} {path.stat().st_size / 1e6:9.1f} MB")
        total = sum(path.stat().st_size for path in files)
        typer.echo(f"{preset}: {total / 1e9:.2f} GB, written in {elapsed_s:.1f} s ({cpu_s:.1f} s of processor time)")


if __name__ == "__main__":
    run(app)
