"""JSON lines: one recording a line, facts and tokens. The largest format, and the one that needs no library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codec.files import replacing
from codec.tokenstore.entry import TokenEntry
from codec.tokenstore.formats.base import Format, ShardReader, reading
from codec.tokenstore.index import Model


class _Reader(ShardReader):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: list[str] = []
        self._starts: list[int] = []  # bytes
        with reading(path), path.open("rb") as file:
            start = 0
            for line in file:
                self._ids.append(json.loads(line)["id"])
                self._starts.append(start)
                start += len(line)

    def ids(self) -> Sequence[str]:
        return self._ids

    def read(self, row: int) -> TokenEntry:
        with reading(self._path), self._path.open("rb") as file:
            file.seek(self._starts[row])
            facts = json.loads(file.readline())
            return TokenEntry.from_facts(facts, np.array(facts["tokens"], np.int64))


def _write(path: Path, entries: Sequence[TokenEntry], model: Model) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps({**entry.facts(), "tokens": entry.tokens.tolist()}, ensure_ascii=False) + "\n")


FORMAT = Format(".jsonl", _write, _Reader)
