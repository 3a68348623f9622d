"""The scripts of the experiments say how they are used, and refuse to do nothing at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "egs"
SCRIPTS = {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.glob("*/*.sh"))}
STAGED = {"collapse": 4, "libritts": 7, "lm": 5, "mini": 7}  # folder -> last stage of its run.sh


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPTS[name]), *arguments], cwd="/", capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_the_comment_at_the_top(name: str, option: str) -> None:
    result = run(name, option)
    assert result.returncode == 0 and result.stderr == ""
    top = SCRIPTS[name].read_text(encoding="utf-8").split("\nset ")[0].splitlines()[1:]
    assert result.stdout.splitlines() == [line.removeprefix("#").removeprefix(" ") for line in top]
    assert f"egs/{name}" in result.stdout


@pytest.mark.parametrize("folder", STAGED)
def test_help_behind_other_options_names_the_stages(folder: str) -> None:
    result = run(f"{folder}/run.sh", "--stage", "2", "--help")
    assert result.returncode == 0 and result.stderr == "" and "Stages: 1 " in result.stdout


@pytest.mark.parametrize(("folder", "last"), STAGED.items())
def test_a_range_without_a_stage_is_refused(folder: str, last: int) -> None:
    result = run(f"{folder}/run.sh", "--stage", "3", "--stop-stage", "2")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == f"error: --stage 3 comes after --stop-stage 2; give a stop stage of 3 to {last}\n"
