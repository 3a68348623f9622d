"""The recipe has the name of a module of the standard library, which every script beside it needs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "recipes"


def test_scripts_beside_the_recipe_find_the_library_module() -> None:
    # As Python does for a script: its folder comes first.
    code = f"import sys; sys.path.insert(0, {str(RECIPES)!r}); import inspect, tokenize; print(tokenize.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == Path(sysconfig.get_path("stdlib"), "tokenize.py")
