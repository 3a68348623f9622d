"""Parquet, one recording a row: what ``datasets``, pandas, DuckDB and Spark read. Needs pyarrow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from codec.errors import CodecError, how_to_install
from codec.files import replacing
from codec.tokenstore.entry import TokenEntry, token_dtype
from codec.tokenstore.formats.base import Format, ShardReader, reading
from codec.tokenstore.index import Model

ROWS_AT_ONCE = 256  # of a row group: what is read to get at one of them

GROUPS_KEPT = 8  # read last, half a megabyte each: in random order all of a shard of an hour, and more
_FACTS = ("id", "num_samples", "num_tokens", "text", "speaker", "split")


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise CodecError(f"the parquet format needs pyarrow; {how_to_install('pyarrow', 'data')}") from None
    return pyarrow


def _check() -> None:
    _pyarrow()


class _Reader(ShardReader):
    def __init__(self, path: Path) -> None:
        pa = _pyarrow()
        self._path = path
        with reading(path):
            self._file = pa.parquet.ParquetFile(path)
            self._ids = self._file.read(columns=["id"]).column("id").to_pylist()
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._groups: OrderedDict[int, Any] = OrderedDict()

    def ids(self) -> Sequence[str]:
        return self._ids

    def read(self, row: int) -> TokenEntry:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group not in self._groups:
            with reading(self._path):
                self._groups[group] = self._file.read_row_group(group)
            if len(self._groups) > GROUPS_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        table, place = self._groups[group], row - int(self._starts[group])
        facts = {name: table.column(name)[place].as_py() for name in _FACTS}
        return TokenEntry.from_facts(facts, table.column("tokens")[place].values.to_numpy())


def _write(path: Path, entries: Sequence[TokenEntry], model: Model) -> None:
    pa = _pyarrow()
    dtype = token_dtype(model.codebook_size)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("tokens", pa.list_(pa.from_numpy_dtype(dtype))),
            ("num_tokens", pa.int64()),
            ("num_samples", pa.int64()),
            ("text", pa.string()),
            ("speaker", pa.string()),
            ("split", pa.string()),
        ],
        metadata={name: str(value) for name, value in asdict(model).items()},
    )
    columns: dict[str, Any] = {name: [entry.facts()[name] for entry in entries] for name in _FACTS}
    columns["tokens"] = [entry.tokens.numpy().astype(dtype) for entry in entries]
    table = pa.table(columns, schema=schema)
    with replacing(path) as temporary:
        pa.parquet.write_table(table, temporary, row_group_size=ROWS_AT_ONCE, compression="zstd")


FORMAT = Format(".parquet", _write, _Reader, check=_check)
