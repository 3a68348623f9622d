"""Commands in the documents are what every shell takes as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


PROGRAM = r"(?:[A-Z_]+=\S+ )*(?:python|codec|accelerate|make|pip|egs/\S+\.sh|benchmarks/\S+\.sh)\b"
INDENTED = re.compile(rf"(?:^ {{4,}}(?:{PROGRAM}.*|\S.*)\n)+", re.MULTILINE)
SCRIPT = re.compile(r"(?:recipes|egs|benchmarks|tests)/[\w./-]+\.(?:py|sh|yaml)\b")
MADE = ("exp/",)  # what commands before them write


def commands(document: Path) -> list[str]:
    """What is in its blocks of shell, fenced or indented."""
    text = document.read_text(encoding="utf-8")
    fenced = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = [re.sub(r"^ {4,}", "", block, flags=re.MULTILINE) for block in INDENTED.findall(rest)]
    return fenced + [block for block in blocks if re.match(PROGRAM, block)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_are_whole_and_brackets_quoted(document: Path) -> None:
    for block in commands(document):
        checked = subprocess.run(["bash", "-n", "-c", block], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        bare = QUOTED.sub("", re.sub(r"(^|\s)#.*", "", block))
        # zsh, the shell of every Mac, refuses a pattern that no file matches.
        assert "[" not in bare, block


def test_what_is_to_be_installed_can_be() -> None:
    """This package is on no index: its extras come from a checkout, and are those of pyproject.toml."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = []
    for path in [*DOCUMENTS, *(ROOT / "codec").rglob("*.py"), *(ROOT / "recipes").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install ['\"]?simvq-codec", text), path
        named += re.findall(r"-e ['\"]\.\[(\w+)\]", text) + re.findall(r"how_to_install\([^)]*?['\"](\w+)['\"]\)", text)
    assert set(named) == {"data", "eval", "export", "lm"} and set(named) <= extras.keys()


def test_each_slurm_task_takes_its_own_rank() -> None:
    (line,) = [line for block in commands(ROOT / "docs" / "scale.md") for line in block.splitlines() if "srun" in line]
    script = re.fullmatch(r"srun .* bash -c '(.*)'", line)
    assert script is not None
    stub = f"accelerate() {{ echo $@; }}; {script[1]}"
    done = subprocess.run(
        ["bash", "-c", stub], env={**os.environ, "SLURM_NODEID": "5"}, capture_output=True, text=True, check=True
    )
    assert "--machine_rank 5" in done.stdout


@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted((ROOT / "egs").glob("*/*.md"))], ids=lambda path: path.name)
def test_commands_name_files_that_are_there(document: Path) -> None:
    for block in commands(document):
        for name in SCRIPT.findall(block):
            assert (ROOT / name).exists() or name.startswith(MADE), f"{document.name}: {name}"


def test_indented_commands_are_found() -> None:
    assert any("curve.py" in block for block in commands(ROOT / "docs/pretrained.md"))
    assert any("evaluate.py" in block for block in commands(ROOT / "docs/evaluation.md"))
