"""Several processes through the launcher, as people start them: the same run as one process with the same batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codec import RunConfig
from codec.config import dump_yaml

ROOT = Path(__file__).parents[2]
# Not told to use the CPU: without another device it has to find that out.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
CHANGES = {
    "model": {"encoder": {"init_gain": 1.3}, "decoder": {"dropout": 0.0}},
    "training": {"bottleneck_warmup": {"init": "covariance"}},  # k-means would blow up differences of rounding
}


def train(config: RunConfig, processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = Path(f"{config.output}.yaml")
    path.write_text(dump_yaml(config), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launcher, str(ROOT / "recipes" / "train.py"), "--config", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done


def losses(run: Path) -> dict[tuple[int, str], dict[str, float]]:
    entries = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {
        (entry["step"], entry["kind"]): {name: value for name, value in entry.items() if name.startswith("loss/")}
        for entry in entries
    }


def test_two_processes_stopped_and_resumed_train_as_one(make_config: Callable[..., RunConfig]) -> None:
    alone, shared = make_config("alone", **CHANGES), make_config("shared", **CHANGES)
    train(alone, 1)
    train(shared, 2, "--stop-at", "6")
    done = train(shared, 2, "--resume")
    assert done.stdout.count("the model;") == 1  # one process reports
    expected, found = losses(Path(alone.output)), losses(Path(shared.output))
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-3, abs=1e-6), key


def test_two_processes_train_without_discriminators(make_config: Callable[..., RunConfig]) -> None:
    none: dict[str, list[int]] = {"periods": [], "resolutions": [], "dac_periods": [], "dac_fft_sizes": []}
    config = make_config(discriminators=none, training={"steps": 2})
    train(config, 2)
    assert (Path(config.output) / "best" / "model.safetensors").is_file()
