"""The package's ways for GPUs, on a device that computes on the processor and refuses what GPUs refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("cases", ["pretended_device.py", "pretended_runs.py", "pretended_lm.py pretended_scores.py"])
def test_everything_stays_on_its_device(cases: str) -> None:
    """In a process of its own: pretending changes torch."""
    paths = " ".join(str(folder) for folder in (HERE.parent, HERE.parent / "quantizers", HERE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={paths}"]
    done = subprocess.run([*command, *cases.split()], cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
