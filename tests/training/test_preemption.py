"""A preempted run: the checkpoint comes first, nothing of the run is lost, and no launcher's death leaves it unseen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from run_contents import assert_same, lines, weights
from safetensors.torch import load_file

from codec import RunConfig
from codec.config import dump_yaml
from codec.training.checkpoint import find_checkpoints
from codec.training.launcher import MARKS
from codec.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]


def sigterm_in(last_step: int) -> Callable[[int, Mapping[str, float]], None]:
    return lambda step, _: os.kill(os.getpid(), signal.SIGTERM) if step == last_step - 1 else None


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Trainer]:
    return {}  # one for all steps


@pytest.mark.parametrize(
    "step",
    [
        3,  # between two log steps, in the warm-up
        4,  # before the bottleneck is set
        5,  # in its first step, between two log steps
        6,  # where validation is due
        12,  # the last
    ],
)
def test_sigterm_ends_with_a_checkpoint_before_validation_and_costs_the_run_nothing(
    make_config: MakeConfig,
    make_trainer: MakeTrainer,
    undisturbed: dict[str, Trainer],
    tmp_path_factory: pytest.TempPathFactory,
    step: int,
) -> None:
    if not undisturbed:
        undisturbed["run"] = make_trainer(make_config(str(tmp_path_factory.mktemp("undisturbed") / "one")))
        undisturbed["run"].fit()
    one = undisturbed["run"]
    stopped = make_trainer(make_config("two"))
    evaluate, draw = stopped.validation.run, stopped.validation.draw_samples

    def never(*_: object, **__: object) -> None:
        raise AssertionError("SIGKILL would have come before the checkpoint")

    def report(now: int, values: Mapping[str, float]) -> None:
        if now == step - 1:
            stopped.validation.run = stopped.validation.draw_samples = never  # type: ignore[method-assign, assignment]
        sigterm_in(step)(now, values)

    # Step 3's signal comes while step 2 is reported, before anything else is due there.
    stopped.fit(report=report)
    assert stopped.next_step == step  # the one under way is finished
    assert find_checkpoints(stopped.run)[-1][0] == step
    assert json.loads((stopped.run / "last" / "training.json").read_text())["step"] == step
    stopped.validation.run, stopped.validation.draw_samples = evaluate, draw  # type: ignore[method-assign]
    resumed = make_trainer(stopped.config, resume=True)
    resumed.fit()
    assert_same(weights(one), weights(resumed))
    assert lines(resumed.run) == lines(one.run)
    for name in ("best", "last"):
        assert_same(*(load_file(run / name / "model.safetensors") for run in (one.run, resumed.run)))
    assert resumed.best == one.best
    assert not make_trainer(stopped.config, resume=True).unseen  # made up for once, also behind the last step


def test_a_kill_right_after_the_switch_leaves_one_line_of_it(
    make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    config = make_config(data={"validation": []}, training={"steps": 6})
    killed = make_trainer(config)
    killed.fit(stop_at=killed.warmup_steps)
    killed._begin_quantizing()
    resumed = make_trainer(config, resume=True)
    resumed.fit()
    assert [entry["kind"] for entry in lines(resumed.run)].count("switch") == 1


# -- launchers ------------------------------------------------------------------------------------------------------

ORPHAN = """
import os, sys, time
from pathlib import Path
from codec.training.launcher import launcher_died
assert not launcher_died()
shell, folder = os.getppid(), Path(sys.argv[1])
(folder / "started").touch()
while os.getppid() == shell:
    time.sleep(0.01)
(folder / "part").write_text(str(launcher_died()))
(folder / "part").rename(folder / "answer")
"""


@pytest.mark.parametrize("mark", [*MARKS, None])
def test_a_launcher_that_ends_is_missed_and_a_shell_is_not(tmp_path: Path, mark: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in MARKS}
    environment |= {"PYTHONPATH": str(ROOT)} | ({mark: "default"} if mark else {})
    parent = '"$0" -c "$1" "$2" & while [ ! -e "$2/started" ]; do sleep 0.05; done'
    subprocess.run(["sh", "-c", parent, sys.executable, ORPHAN, str(tmp_path)], env=environment, check=True, timeout=60)
    wait_for((tmp_path / "answer").exists, 60)
    assert (tmp_path / "answer").read_text() == str(mark is not None)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_death_of_accelerate_launch_ends_the_run_with_a_checkpoint(
    make_config: MakeConfig, number: signal.Signals
) -> None:
    often = {"steps": 100_000, "log_every": 1, "validate_every": 50_000, "sample_every": 50_000}
    config = make_config(training={**often, "checkpoint_every": 50_000})
    run, settings = Path(config.output), Path(f"{config.output}.yaml")
    settings.write_text(dump_yaml(config), encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    command = [*launch, str(ROOT / "recipes" / "train.py"), "--config", str(settings)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    training: list[psutil.Process] = []
    try:
        wait_for(lambda: (run / "metrics.jsonl").exists() and bool((run / "metrics.jsonl").stat().st_size), 200)
        training = psutil.Process(launcher.pid).children(recursive=True)
        assert training
        launcher.send_signal(number)
        assert launcher.wait(60) == -number  # at once, and passing nothing on
        wait_for(lambda: not any(map(psutil.Process.is_running, training)), 60)
        ((step, _),) = find_checkpoints(run)
        assert lines(run)[-1]["step"] == step
        assert (run / "last" / "model.safetensors").is_file()
    finally:
        launcher.kill()
        launcher.wait()
        for process in training:
            if process.is_running():
                process.kill()
