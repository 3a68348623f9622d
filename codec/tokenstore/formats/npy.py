"""All tokens of a shard in one flat ``.npy`` array, and a ``.jsonl`` that says where each recording lies in it.

The array can be mapped into memory, which is how trainers of language models like it best.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codec.errors import CodecError
from codec.files import replacing
from codec.tokenstore.entry import TokenEntry, token_dtype
from codec.tokenstore.formats.base import Format, ShardReader, reading
from codec.tokenstore.index import Model

SIDE_SUFFIX = ".jsonl"


class _Reader(ShardReader):
    def __init__(self, path: Path) -> None:
        self._path = path
        side = path.with_suffix(SIDE_SUFFIX)
        with reading(side):
            lines = side.read_text(encoding="utf-8").split("\n")
            self._facts = [json.loads(line) for line in lines if line]
            self._ids = [facts["id"] for facts in self._facts]
            promised = sum(facts["num_tokens"] for facts in self._facts)
        with reading(path):
            self._tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        if self._tokens.shape != (promised,):
            raise CodecError(
                f"{path}: holds {self._tokens.size} tokens, {side.name} promises {promised}; get both again"
            )

    def ids(self) -> Sequence[str]:
        return self._ids

    def read(self, row: int) -> TokenEntry:
        facts = self._facts[row]
        with reading(self._path):
            return TokenEntry.from_facts(facts, self._tokens[facts["offset"] :][: facts["num_tokens"]])


def _write(path: Path, entries: Sequence[TokenEntry], model: Model) -> None:
    dtype = token_dtype(model.codebook_size)
    with replacing(path.with_suffix(SIDE_SUFFIX)) as temporary, temporary.open("w", encoding="utf-8") as file:
        offset = 0
        for entry in entries:
            file.write(json.dumps({**entry.facts(), "offset": offset}, ensure_ascii=False) + "\n")
            offset += entry.num_tokens
    with replacing(path) as temporary, temporary.open("wb") as binary:
        np.save(
            binary, np.concatenate([np.zeros(0, dtype), *(entry.tokens.numpy().astype(dtype) for entry in entries)])
        )


FORMAT = Format(".npy", _write, _Reader, side_suffix=SIDE_SUFFIX)
