"""Training in a process that can be killed, without paying for its imports each time."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["codec.training.trainer", "torch.utils.tensorboard"])


def resume(settings: str) -> None:
    """Train the run of a YAML file from its newest checkpoint on."""
    import torch
    from accelerate import Accelerator

    from codec.config import load_run_config
    from codec.training.trainer import Trainer

    torch.set_num_threads(1)
    Trainer(load_run_config(settings), Accelerator(cpu=True), resume=True).fit()


def start(settings: Path) -> ForkServerProcess:
    process = FORKSERVER.Process(target=resume, args=(str(settings),))
    process.start()
    return process


def kill_when(process: ForkServerProcess, condition: Callable[[], bool]) -> bool:
    """SIGKILL as soon as ``condition`` is true; False where the process ended before."""
    while not condition():
        if process.exitcode is not None:
            return False
        time.sleep(0.001)
    process.kill()
    process.join()
    return process.exitcode == -9
