"""Metrics in worker processes: the same records, and what happens when a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from doubles import RATE, NoisySystem, PeakMetric
from torch import Tensor

from codec import CodecError
from codec.evaluation import Metric, MetricOptions, Value, build_metrics, evaluate
from codec.evaluation import pool as pools
from codec.evaluation.pool import default_workers
from codec.evaluation.records import Store
from codec.manifest import Utterance

ROOT = Path(__file__).parents[2]


class HereMetric(PeakMetric):
    """Stays in the calling process, and notes it."""

    name: ClassVar[str] = "here"
    values: ClassVar[Mapping[str, Value]] = {"process": Value("process", "lower")}

    @property
    def in_pool(self) -> bool:
        return False

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        return {"process": os.getpid()}


class ThereMetric(PeakMetric):
    """Tells which process it is in."""

    name: ClassVar[str] = "there"
    values: ClassVar[Mapping[str, Value]] = {"worker": Value("worker", "lower")}

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        return {"worker": os.getpid()}


class DeadlyMetric(PeakMetric):
    """Kills the process that scores a clip of 1 s."""

    name: ClassVar[str] = "deadly"

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        if len(reference) == 24_000:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(reference, degraded)


def test_workers_change_no_byte(utterances: list[Utterance], tmp_path: Path) -> None:
    system = NoisySystem(broken=("u4",))
    metrics: list[Metric] = [*build_metrics(["pesq", "stoi", "mel"], MetricOptions(RATE)), PeakMetric()]
    evaluate(system, utterances, metrics, tmp_path / "none")
    steps: list[tuple[int, int]] = []
    evaluate(
        *(system, utterances, metrics, tmp_path / "two"),
        workers=2,
        progress=lambda done, total: steps.append((done, total)),
    )
    records = [(tmp_path / name / "utterances.jsonl").read_bytes() for name in ("none", "two")]
    assert records[0] == records[1]
    assert steps == [(done, 6) for done in range(7)]


def test_only_what_may_goes_to_a_worker(utterances: list[Utterance], tmp_path: Path) -> None:
    found = evaluate(NoisySystem(), utterances[:2], [ThereMetric(), HereMetric()], tmp_path, workers=1).records
    for record in found.values():
        assert list(record.scores) == ["worker", "process"]
        assert record.scores["process"] == os.getpid() != record.scores["worker"]


def test_a_killed_worker_ends_the_run_and_loses_nothing(utterances: list[Utterance], tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="what was scored is kept, run again with --workers 0"):
        evaluate(NoisySystem(), utterances, [DeadlyMetric()], tmp_path, workers=1)
    Store(tmp_path).collect()
    kept = Store(tmp_path).records()
    assert "u3" not in kept and {"u2", "u4", "u0"} <= kept.keys()  # longest first


def test_a_killed_worker_is_waited_for_by_nobody(tmp_path: Path) -> None:
    """Also where a minute of speech is on its way to it."""
    script = tmp_path / "killing.py"
    script.write_text(
        "import os, signal, time, torch\n"
        "from codec import CodecError\n"
        "from codec.evaluation.pair import Pair\n"
        "from codec.evaluation.pool import ScoringPool\n"
        "if __name__ == '__main__':\n"
        "    minute = Pair(torch.zeros(60 * 24_000), torch.zeros(60 * 24_000), 24_000)\n"
        "    try:\n"
        "        with ScoringPool(1, []) as pool:\n"
        "            pool.result(pool.submit(minute, []))\n"
        "            (worker,) = pool._executor._processes\n"
        "            os.kill(worker, signal.SIGSTOP)\n"
        "            waiting = [pool.submit(minute, []) for _ in range(4)]\n"
        "            time.sleep(1)\n"
        "            os.kill(worker, signal.SIGKILL)\n"
        "            pool.result(waiting[-1])\n"
        "    except CodecError as error:\n"
        "        print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.stdout.startswith("a scoring process was ended from outside"), done.stderr


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal, torch\n"
        "from codec.evaluation.pair import Pair\n"
        "from codec.evaluation.pool import ScoringPool\n"
        "if __name__ == '__main__':\n"
        "    pool = ScoringPool(1, [])\n"
        "    pool.result(pool.submit(Pair(torch.zeros(1), torch.zeros(1), 24_000), []))\n"
        "    print(*pool._executor._processes, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    worker = int(done.stdout)
    deadline = time.monotonic() + 20
    while _is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(worker)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        # A zombie that nobody waits for has ended all the same.
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_workers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools.os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert default_workers(1000, 1) == 8
    assert default_workers(1000, 4) == 3
    assert default_workers(1000, 12) == 0  # a core each: the process itself fills it
    assert default_workers(15, 1) == 0
    assert default_workers(40, 4) == 0
