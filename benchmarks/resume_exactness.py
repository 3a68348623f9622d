"""Is a resumed run the undisturbed run, bit for bit?

    python benchmarks/resume_exactness.py --config egs/mini/conf/tiny.yaml --steps 400 --stop-at 200

Trains once in one go and once with a stop, each part in a process of its own, and compares all weights (generator,
discriminators, average) and every logged number but the times. Exit code 1 where they differ. Small batches: what is
compared does not depend on them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run

app = typer.Typer(add_completion=False)

TIMES = ("audio_s_per_s", "time_s")


@app.command()
def main(
    config: Annotated[Path, typer.Option(help="YAML settings of the run.")] = Path("egs/mini/conf/tiny.yaml"),
    steps: Annotated[int, typer.Option(min=2)] = 400,
    stop_at: Annotated[int, typer.Option(min=1)] = 200,
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for both runs.")] = Path("exp/exactness"),
) -> None:
    """Train undisturbed and with a stop, and compare."""
    from safetensors.torch import load_file

    settings = [
        f"training.steps={steps}",
        f"training.discriminator_start={3 * steps // 8}",
        "training.bottleneck_warmup.share=0.25",
        "training.bottleneck_warmup.latents=5000",
        *(f"training.{name}_every={steps}" for name in ("validate", "sample", "checkpoint")),
        "data.batch_size=4",
        "data.crop_s=0.4",
        "data.validation=[]",
    ]

    def train(name: str, *options: str) -> None:
        command = [sys.executable, "recipes/train.py", "--config", str(config), *settings]
        subprocess.run([*command, f"output={output / name}", *options], check=True)

    train("undisturbed")
    train("resumed", "--stop-at", str(stop_at))
    train("resumed", "--resume")

    different = 0
    for file in ("model.safetensors", "model_1.safetensors", "../../last/model.safetensors"):
        one, other = (
            load_file(output / name / "checkpoints" / f"step_{steps}" / file) for name in ("undisturbed", "resumed")
        )
        count = sum(not one[name].equal(other[name]) for name in one)
        print(f"{file}: {len(one)} tensors, {count} different")
        different += count
    logs = [_log(output / name / "metrics.jsonl") for name in ("undisturbed", "resumed")]
    print(f"metrics.jsonl: {len(logs[0])} lines, {'equal' if logs[0] == logs[1] else 'different'}")
    raise typer.Exit(1 if different or logs[0] != logs[1] else 0)


def _log(path: Path) -> list[dict[str, object]]:
    """Training lines without the times; a stop validates once more."""
    entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        {key: value for key, value in entry.items() if key not in TIMES}
        for entry in entries
        if entry["kind"] != "validation"
    ]


if __name__ == "__main__":
    run(app)
