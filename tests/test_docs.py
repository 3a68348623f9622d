"""Commands in the documents are what every shell takes as it stands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def commands(document: Path) -> list[str]:
    """What is in its blocks of shell."""
    return re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_are_whole_and_brackets_quoted(document: Path) -> None:
    for block in commands(document):
        checked = subprocess.run(["bash", "-n", "-c", block], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        bare = QUOTED.sub("", re.sub(r"(^|\s)#.*", "", block))
        # zsh, the shell of every Mac, refuses a pattern that no file matches.
        assert "[" not in bare, block


def test_each_slurm_task_takes_its_own_rank() -> None:
    (line,) = [line for block in commands(ROOT / "docs" / "scale.md") for line in block.splitlines() if "srun" in line]
    script = re.fullmatch(r"srun .* bash -c '(.*)'", line)
    assert script is not None
    stub = f"accelerate() {{ echo $@; }}; {script[1]}"
    done = subprocess.run(
        ["bash", "-c", stub], env={**os.environ, "SLURM_NODEID": "5"}, capture_output=True, text=True, check=True
    )
    assert "--machine_rank 5" in done.stdout
