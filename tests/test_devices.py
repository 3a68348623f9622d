"""What keeping processes together leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# TorchDynamo, imported in the middle of a run, takes the group that there is into default arguments.
GROUP = """
import os
from accelerate import PartialState
from codec.devices import on_cpu
state = PartialState(cpu=on_cpu())
assert state.num_processes == 1 and state.backend == "gloo"
import torch._dynamo
state.wait_for_everyone()
state.destroy_process_group()
print(*(open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="names of threads are read from /proc")
def test_no_thread_of_a_process_group_outlives_it() -> None:
    # A thread that lives on is killed with the interpreter, which sometimes aborts a run that was finished.
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "ACCELERATE_USE_CPU": "true"}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", GROUP],
        capture_output=True,
        text=True,
        env={**os.environ, **alone, **address},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "gloo" not in done.stdout
