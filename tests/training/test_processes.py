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
from codec.config import dump_yaml, merge

ROOT = Path(__file__).parents[2]
# Not told to use the CPU: without another device it has to find that out.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
CHANGES = {
    "model": {"encoder": {"init_gain": 1.3}, "decoder": {"dropout": 0.0}},
    "losses": {"loudness": 60.0},
    "optimizer": {"eps": 1e-5},  # or Adam's first step behind the warm-up is a whole one for gradients of rounding
    "training": {"bottleneck_warmup": {"init": "covariance"}},  # k-means would blow up differences of rounding
}


TWENTY = {
    "model": {"encoder": {"init_gain": 1.3}, "decoder": {"dropout": 0.0}},
    "optimizer": {"lr": 1e-4},
    "training": {
        "steps": 20,
        "log_every": 1,
        "validate_every": 20,
        "sample_every": 20,
        "checkpoint_every": 20,
        "discriminator_start": 0,
        "bottleneck_warmup": {"share": 0.0},
    },
}


def train(
    config: RunConfig, processes: int, *arguments: str, script: Path = ROOT / "recipes" / "train.py"
) -> subprocess.CompletedProcess[str]:
    path = Path(f"{config.output}.yaml")
    path.write_text(dump_yaml(config), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launcher, str(script), "--config", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done


def losses(run: Path) -> dict[tuple[int, str], dict[str, float]]:
    entries = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {
        (entry["step"], entry["kind"]): {name: value for name, value in entry.items() if name.startswith("loss/")}
        for entry in entries
    }


def test_any_number_of_processes_trains_and_resumes_as_one(make_config: Callable[..., RunConfig]) -> None:
    """One process alone; two, stopped and resumed as one, stopped and resumed as two."""
    alone, changing = make_config("alone", **CHANGES), make_config("changing", **CHANGES)
    train(alone, 1)
    train(changing, 2, "--stop-at", "2")  # within the warm-up
    train(changing, 1, "--resume", "--stop-at", "6")
    done = train(changing, 2, "--resume")
    assert done.stdout.count("the model;") == 1  # one process reports
    expected, found = losses(Path(alone.output)), losses(Path(changing.output))
    assert found.keys() >= expected.keys()  # a stop validates once more
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-3, abs=1e-6), key


@pytest.mark.parametrize(
    ("script", "eps", "apart"),
    [
        # A gradient that is zero but for rounding (the last bias of a hinge discriminator, while all judgements are
        # within the margin) makes Adam take a whole step of the rate, the other way round in the other run; hence eps.
        (ROOT / "recipes" / "train.py", 1e-5, 1e-5),
        # In float64 the published eps shows that rounding is all there is. Its steps alone are in float64.
        (Path(__file__).with_name("double.py"), 1e-8, 1e-12),
    ],
    ids=["float32", "float64"],
)
def test_two_processes_give_the_losses_of_one_for_twenty_steps(
    make_config: Callable[..., RunConfig], script: Path, eps: float, apart: float
) -> None:
    """Every loss of every step: the same batch, however it is shared."""
    settings = merge(TWENTY, {"optimizer": {"eps": eps}})
    if script.name == "double.py":
        settings["data"] = {"validation": []}
    alone, shared = make_config("alone", **settings), make_config("shared", **settings)
    train(alone, 1, script=script)
    train(shared, 2, script=script)
    expected, found = losses(Path(alone.output)), losses(Path(shared.output))
    assert found.keys() == expected.keys()
    assert [key for key in expected if key[1] == "train"] == [(step, "train") for step in range(1, 21)]
    for key, values in expected.items():
        assert len(values) == (11 if key[1] == "train" else 2)
        assert found[key] == pytest.approx(values, rel=apart, abs=apart / 10), key


@pytest.mark.parametrize("bottleneck", ["simvq", "fsq"])
def test_two_processes_train_with_the_reconstruction_alone(
    make_config: Callable[..., RunConfig], bottleneck: str
) -> None:
    """No discriminator, and no loss of the bottleneck's own: nobody waits for gradients that do not come."""
    none: dict[str, list[int]] = {"periods": [], "resolutions": [], "dac_periods": [], "dac_fft_sizes": []}
    config = make_config(
        discriminators=none,
        model={"quantizer": {"name": bottleneck}},
        losses={"commitment": 0.0},
        training={"steps": 3, "bottleneck_warmup": {"share": 0.34}},
    )
    train(config, 2)
    assert (Path(config.output) / "best" / "model.safetensors").is_file()
