"""Is a resumed run the undisturbed run, bit for bit?

    python benchmarks/resume_exactness.py --config egs/mini/conf/tiny.yaml --steps 400 --stop-at 200
    python benchmarks/resume_exactness.py --config egs/mini/conf/tiny.yaml --steps 400 --kills 10 --seed 0

Trains once in one go and once disturbed, every part in a process of its own, and compares all weights (generator,
discriminators, average) and every logged number but the times. Exit code 1 where they differ. Two crops of 0.2 s a
step: what is compared does not depend on them.

``--stop-at`` stops in order at a step. ``--kills`` sends SIGKILL at random moments, every other one while a checkpoint
is being written, and resumes after each.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run
from codec.errors import CodecError

app = typer.Typer(add_completion=False)

TIMES = ("audio_s_per_s", "time_s")
POLL_S = 0.002


@app.command()
def main(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...")] = None,
    config: Annotated[Path, typer.Option(help="YAML settings of the run.")] = Path("egs/mini/conf/tiny.yaml"),
    steps: Annotated[int, typer.Option(min=2)] = 400,
    stop_at: Annotated[int, typer.Option(min=1, help="Where the disturbed run stops, without --kills.")] = 200,
    kills: Annotated[int, typer.Option(min=0, help="How often the disturbed run is killed instead.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps, with --kills.")] = 5,
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for both runs.")] = Path("exp/exactness"),
) -> None:
    """Train undisturbed and disturbed, and compare."""
    if any((output / name).exists() for name in ("undisturbed", "disturbed")):
        raise CodecError(f"{output}: holds runs already; give another -o")
    every = checkpoint_every if kills else steps
    settings = [
        f"training.steps={steps}",
        f"training.discriminator_start={3 * steps // 8}",
        "training.bottleneck_warmup.share=0.25",
        "training.bottleneck_warmup.latents=5000",
        f"training.log_every={min(every, 50)}",
        *(f"training.{name}_every={-(-steps // every) * every}" for name in ("validate", "sample")),
        f"training.checkpoint_every={every}",
        "data.batch_size=2",
        "data.crop_s=0.2",
        "data.validation=[]",
        *(overrides or []),
    ]

    def command(name: str, *options: str) -> list[str]:
        train = [sys.executable, "recipes/train.py", "--config", str(config), *settings]
        return [*train, f"output={output / name}", *options]

    subprocess.run(command("undisturbed"), check=True)
    if kills:
        last = steps - checkpoint_every  # after the last checkpoint but one there may be nothing left to kill
        moments = random.Random(seed)
        kill_steps = sorted(moments.sample(range(1, last), kills))
        train_and_kill(command("disturbed", "--resume"), output / "disturbed", kill_steps, checkpoint_every, moments)
    else:
        subprocess.run(command("disturbed", "--stop-at", str(stop_at)), check=True)
        subprocess.run(command("disturbed", "--resume"), check=True)
    raise typer.Exit(compare(output / "undisturbed", output / "disturbed", steps))


def train_and_kill(
    command: list[str], folder: Path, kill_steps: list[int], checkpoint_every: int, moments: random.Random
) -> None:
    """Run ``command`` to its end, killed on the way at or soon after each of ``kill_steps`` and resumed each time."""
    within_writing = 0
    for index, step in enumerate(kill_steps):
        started = time.time()
        process = subprocess.Popen(command)
        logged = step // checkpoint_every * checkpoint_every
        reached = _wait(process, lambda: _touched_since(folder, started) and last_step(folder) >= logged)  # noqa: B023
        if reached and index % 2:
            reached = _wait(process, lambda: any((folder / "checkpoints").glob(".step_*.part")))
            time.sleep(moments.uniform(0, 0.02))
        elif reached:
            time.sleep(moments.uniform(0, 1))
        process.kill()
        process.wait()
        if not reached:
            raise CodecError(f"{folder}: the run ended before kill {index + 1}; what it said stands above")
        halves = sorted(path.name for path in (folder / "checkpoints").glob(".step_*"))
        within_writing += bool(halves)
        where = f"while it wrote {halves[0]}" if halves else "between checkpoints"
        print(f"kill {index + 1}: step {last_step(folder)} logged, {where}", flush=True)
    print(f"{len(kill_steps)} kills, {within_writing} within the writing of a checkpoint", flush=True)
    subprocess.run(command, check=True)


def _touched_since(folder: Path, started: float) -> bool:
    path = folder / "metrics.jsonl"
    return path.exists() and path.stat().st_mtime >= started


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` came true before the process ended."""
    while not condition():
        if process.poll() is not None:
            return False
        time.sleep(POLL_S)
    return process.poll() is None


def last_step(folder: Path) -> int:
    """The last step that a run has logged."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith(b"}")), default=0)


def compare(one: Path, other: Path, steps: int) -> int:
    """Print how far two finished runs are the same; 1 where they differ."""
    from safetensors.torch import load_file

    different = 0
    for file in ("model.safetensors", "model_1.safetensors", "../../last/model.safetensors"):
        ours, theirs = (load_file(run / "checkpoints" / f"step_{steps}" / file) for run in (one, other))
        count = sum(not ours[name].equal(theirs[name]) for name in ours)
        print(f"{file}: {len(ours)} tensors, {count} different")
        different += count
    logs = [_log(run / "metrics.jsonl") for run in (one, other)]
    print(f"metrics.jsonl: {len(logs[0])} lines, {'equal' if logs[0] == logs[1] else 'different'}")
    return 1 if different or logs[0] != logs[1] else 0


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
