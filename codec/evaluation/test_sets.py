"""Test sets: any manifest, or by name those that ``recipes/prepare_libritts.py`` has made of a corpus's splits."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from codec.errors import CodecError
from codec.manifest import Utterance, parse_line, read_manifest

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


def read_test_set(manifest: Path) -> tuple[list[Utterance], list[str]]:
    """Its utterances, and what is left out: lines with the id of an earlier one, each with its reason.

    Training refuses such a manifest; here, as with everything else that may be wrong with one utterance of a test set,
    the others are scored and the loss is counted.

    Raises:
        CodecError: what :func:`codec.manifest.read_manifest` raises for anything else.
    """
    try:
        lines = manifest.read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        lines = []
    first: dict[str, int] = {}
    utterances, left_out = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        utterance = parse_line(line, manifest, number)
        if utterance.id in first:
            left_out.append(f"line {number}: id {utterance.id!r} stands in line {first[utterance.id]} already")
        else:
            first[utterance.id] = number
            utterances.append(utterance)
    return utterances or read_manifest(manifest), left_out  # which says what is wrong with one without any
