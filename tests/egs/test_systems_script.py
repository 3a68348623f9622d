"""The script that scores many systems: what it starts, and what it does where one is not to be had."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "egs" / "mini" / "systems.sh"
# Stands for torchrun: opus is not installed, broken:1 fails for another reason, all others are scored.
TORCHRUN = """#!/bin/sh
echo "$@" >> "$LOG"
while [ "$1" != --system ]; do shift; done; system=$2
while [ "$1" != -o ]; do shift; done; mkdir -p "$2"
case $system in
  opus:*) echo '{}' > "$2/not_available.json" ;;
  broken:*) echo '{}' > "$2/not_available.json"; exit 1 ;;
  *) echo '{}' > "$2/summary.json" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = tmp_path / "with a space"
    (checkout / "egs" / "mini").mkdir(parents=True)
    shutil.copy(SCRIPT, checkout / "egs" / "mini")
    programs = checkout / "bin"
    programs.mkdir()
    for name, content in {"torchrun": TORCHRUN, "codec": '#!/bin/sh\necho "codec $@" >> "$LOG"\n'}.items():
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    (checkout / "set.jsonl").touch()
    return checkout


def run(checkout: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    log = checkout / "log"
    result = subprocess.run(
        [str(checkout / "egs" / "mini" / "systems.sh"), "--manifest", "set.jsonl", "-o", "out", *arguments],
        cwd="/",
        env={**os.environ, "PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}", "LOG": str(log)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result, log.read_text().splitlines() if log.exists() else []


def test_what_is_not_installed_is_left_to_the_table(checkout: Path) -> None:
    (checkout / "model").mkdir()
    stale = checkout / "out" / "resample-8000" / "not_available.json"
    stale.parent.mkdir(parents=True)
    stale.touch()
    systems = "opus:6 resample:8000"
    result, log = run(checkout, "--systems", systems, "--model", "model", "--", "--metrics", "pesq")
    assert result.returncode == 0, result.stderr
    scored, last = log[:-1], log[-1]
    assert [line.split("--system ")[1].split()[0] for line in scored] == [*systems.split(), "model"]
    assert all(line.endswith("--save-audio --metrics pesq") for line in scored)
    assert last.startswith("codec report out/opus-6 out/resample-8000 out/model --manifest set.jsonl")
    assert not stale.exists()


def test_where_none_is_installed_there_is_no_table_and_no_failure(checkout: Path) -> None:
    result, log = run(checkout, "--systems", "opus:6 opus:8", "--model", "")
    assert result.returncode == 0 and not result.stderr
    assert len(log) == 2 and not any(line.startswith("codec report") for line in log)
    assert "none of these systems is installed: no table" in result.stdout
    result, log = run(checkout, "--systems", "opus:6 resample:8000", "--model", "")
    assert result.returncode == 0
    assert log[-1].startswith("codec report out/opus-6 out/resample-8000 ") and "--against out/resample-8000" in log[-1]


def test_without_a_model_and_with_the_one_that_ships(checkout: Path) -> None:
    result, log = run(checkout, "--systems", "resample:8000", "--model", "")
    assert result.returncode == 0 and "no such model" not in result.stderr
    assert log[-1].startswith("codec report out/resample-8000 --manifest")
    (checkout / "bin" / "codec").write_text(
        '#!/bin/sh\necho "simvq-24khz-0.9kbps: speech"\necho "codec $@" >> "$LOG"\n'
    )
    result, log = run(checkout, "--model", "")
    assert result.returncode == 0 and "out/simvq-24khz-0.9kbps --manifest" in log[-1]


def test_any_other_failure_ends_it(checkout: Path) -> None:
    result, log = run(checkout, "--systems", "broken:1 resample:8000", "--model", "none")
    assert result.returncode == 2 and "no such model" in result.stderr
    assert len(log) == 1


def test_the_report_alone_scores_nothing(checkout: Path) -> None:
    result, log = run(checkout, "--report", "--systems", "resample:8000", "--model", "none")
    assert result.returncode == 0 and len(log) == 1 and log[0].startswith("codec report out/resample-8000")


def test_a_wrong_option_is_refused(checkout: Path) -> None:
    result, log = run(checkout, "--faster")
    assert result.returncode == 2 and "unknown option --faster" in result.stderr and not log
