"""The demo's script runs from anywhere, stage by stage, and stops at the first error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FEW_STEPS = (
    "training.steps=4",
    "training.log_every=2",
    "training.validate_every=4",
    "training.checkpoint_every=4",
    "training.discriminator_start=3",
    "training.bottleneck_warmup.latents=5000",
    "data.batch_size=2",
    "data.validation_crops=1",
    "data.workers=0",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is written beside the user's own experiments."""
    checkout = tmp_path_factory.mktemp("checkout") / "with a space"
    for folder in ("codec", "recipes", "egs"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return checkout


def run(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(checkout / "egs" / "mini" / "run.sh"), *arguments],
        cwd="/",
        env={**os.environ, "PATH": path, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_manifests_training_and_the_untrained_twin(checkout: Path) -> None:
    result = run(checkout, "--stop-stage", "1")
    assert result.returncode == 0, result.stderr
    result = run(checkout, "--stage", "3", "--stop-stage", "4", "--", *FEW_STEPS)
    assert result.returncode == 0, result.stderr
    exp = checkout / "exp" / "mini"
    assert (exp / "data" / "train-mini.jsonl").is_file()
    trained, untrained = (exp / name / "model.safetensors" for name in ("tiny/best", "untrained"))
    assert trained.stat().st_size == untrained.stat().st_size
    assert trained.read_bytes() != untrained.read_bytes()
    assert (exp / "tiny" / "best" / "config.json").read_text() == (exp / "untrained" / "config.json").read_text()
    assert "stage 5" not in result.stdout


def test_the_first_error_ends_it(checkout: Path) -> None:
    result = run(checkout, "--stage", "7")  # nothing was encoded or scored
    assert result.returncode == 2
    assert "recipes/evaluate.py first" in result.stderr
    assert not (checkout / "exp" / "mini" / "report.html").exists()


@pytest.mark.parametrize("arguments", [["--stage"], ["--stage", "8"], ["--stop-stage", "two"], ["--faster"]])
def test_a_wrong_option_is_refused_before_anything_runs(checkout: Path, arguments: list[str]) -> None:
    result = run(checkout, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    assert "stage 1" not in result.stdout
