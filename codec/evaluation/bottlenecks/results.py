"""Runs of bottlenecks as JSON lines.

A line is a run: ``system``, ``codebook_size`` and ``seed``; ``source`` where there are several (sets
of latents, test sets); and numbers by name, those of :data:`VALUES` in their order. A line may also have

- ``use``: [[step, codes used], ...], over training;
- ``map``: :meth:`codec.evaluation.bottlenecks.maps.CodeMap.to_json`;
- ``failed``: why the run has no numbers.

``egs/collapse/plain.py`` and ``egs/collapse/codec_results.py`` write such.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation.bottlenecks.maps import CodeMap

VALUES = {  # key -> heading, digits, whether less is better (None: neither)
    "distortion": ("squared error", 4, True),
    "stoi": ("STOI", 3, False),
    "pesq": ("PESQ-WB", 3, False),  # not first: after minutes of training it hardly tells systems apart
    "mel": ("log-mel", 3, True),
    "codes_used": ("codes used", 0, None),
    "perplexity": ("perplexity", 0, None),
    "entropy_bits": ("entropy (bits)", 2, None),
    "codes_used_on_c": ("used on C", 0, None),
    "effective_dimension": ("effective dimension of the codes", 0, None),
    "latent_dimension": ("of the latents", 0, None),
    "learned": ("weights that learn", 0, None),  # by gradients
    "held": ("other numbers", 0, None),  # frozen, or moved by averages
    "cpu_s": ("CPU time (s)", 1, None),
}
COSTS = ("learned", "held", "cpu_s")
MEASURED = [key for key in VALUES if key not in COSTS]  # a run that has none of these says nothing


@dataclass(frozen=True)
class Result:
    """A run."""

    system: str
    codebook_size: int
    seed: int
    source: str
    values: dict[str, float]
    use: list[tuple[float, float]] = field(default_factory=list)  # step, codes used
    map: CodeMap | None = None
    failed: str = ""


def read_results(paths: Iterable[Path]) -> list[Result]:
    """All runs of several files.

    Raises:
        CodecError: a file that cannot be read or has nothing in it, a line that is no run, or a run that occurs twice.
    """
    found: dict[tuple[str, str, int, int], Result] = {}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CodecError(f"{path}: cannot be read ({error}); give a file of results as JSON lines") from None
        for number, line in enumerate(lines, start=1):
            result = _parse(line, f"{path}, line {number}")
            key = (result.source, result.system, result.codebook_size, result.seed)
            if key in found:
                raise CodecError(f"{path}, line {number}: {key} occurs twice; give each run once")
            found[key] = result
    if not found:
        raise CodecError("no results in any of the files; run egs/collapse/plain.py first")
    return list(found.values())


def _parse(line: str, where: str) -> Result:
    try:
        data: Any = json.loads(line)
    except ValueError:
        raise CodecError(f"{where}: not JSON; expected one run a line") from None
    kinds = {"system": str, "codebook_size": int, "seed": int}
    wrong = [key for key, kind in kinds.items() if not isinstance(data, dict) or type(data.get(key)) is not kind]
    if wrong or data["codebook_size"] < 1:
        raise CodecError(f"{where}: expected system (a name), codebook_size (from 1 on) and seed (whole numbers)")
    values = {key: data[key] for key in VALUES if key in data}
    if bad := [key for key, value in values.items() if not _is_number(value)]:
        raise CodecError(f"{where}: {bad[0]}={values[bad[0]]!r}: expected a finite number")
    failed = str(data.get("failed", ""))
    if not failed and not any(key in values for key in MEASURED):
        raise CodecError(f"{where}: has none of {', '.join(MEASURED)}")
    return Result(data["system"], data["codebook_size"], data["seed"], str(data.get("source", "")), values,
                  _use(data.get("use", []), where), _map(data.get("map"), where), failed)  # fmt: skip


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _use(points: Any, where: str) -> list[tuple[float, float]]:
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point)) for point in points
    ):
        raise CodecError(f"{where}: use: expected [[step, codes used], ...]")
    return [(step, codes) for step, codes in points]


def _map(data: Any, where: str) -> CodeMap | None:
    try:
        return None if data is None else CodeMap.from_json(data)
    except ValueError as error:
        raise CodecError(f"{where}: map: {error}; expected points, uses and share of the same codes") from None
