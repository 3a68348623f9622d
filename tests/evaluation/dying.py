"""recipes/evaluate.py whose first process is killed once its second record is on disk."""

import os
import runpy
import signal
import sys
from pathlib import Path

from codec.evaluation.records import Part, Record

_add = Part.add
_left = 2


def _add_and_die(part: Part, record: Record) -> None:
    global _left
    _add(part, record)
    _left -= 1
    if _left == 0 and os.environ.get("RANK", "0") == "0":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Part.add = _add_and_die  # type: ignore[method-assign]
    recipe = str(Path(__file__).parents[2] / "recipes" / "evaluate.py")
    sys.argv[0] = recipe
    runpy.run_path(recipe, run_name="__main__")
