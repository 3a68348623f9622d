"""Test sets by name: the manifests that ``recipes/prepare_libritts.py`` has made of a corpus's splits."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from codec.errors import CodecError

LIBRITTS_DATA = Path("exp/libritts/data")  # where egs/libritts/run.sh puts them


def find_test_sets(names: Sequence[str], data: Path) -> dict[str, Path]:
    """Manifests of the splits called ``names``, in that order, each once.

    Raises:
        CodecError: no name, or no such manifest in ``data``; the nearest is suggested.
    """
    if not names:
        raise CodecError("no test set named; give for example --test-set test-clean,test-other")
    known = sorted(path.stem for path in data.glob("*.jsonl"))
    for name in names:
        if name in known:
            continue
        if not known:
            raise CodecError(
                f"{data}: no prepared test sets; run recipes/prepare_libritts.py CORPUS -o {data}, or name another "
                "folder with --data"
            )
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise CodecError(f"unknown test set {name!r}: no {name}.jsonl in {data}; {hint}")
    return {name: data / f"{name}.jsonl" for name in names}
