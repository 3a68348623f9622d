"""Tar shards in webdataset's layout: ``KEY.npy`` (the tokens) and ``KEY.json`` (the facts) for each recording.

Written and read with the standard library; ``webdataset`` reads them too, from a folder or an object store. The key is
the id, percent-encoded where it has a dot, a slash or a letter beyond ASCII.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codec.errors import CodecError
from codec.files import replacing
from codec.naming import id_of, member_key
from codec.tokenstore.entry import TokenEntry, token_dtype
from codec.tokenstore.formats.base import Format, ShardReader, reading
from codec.tokenstore.index import Model


class _Reader(ShardReader):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, dict[str, tuple[int, int]]] = {}  # key -> suffix -> offset, size
        with reading(path), path.open("rb") as file:
            try:
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    for member in archive:
                        key, _, suffix = member.name.partition(".")
                        self._members.setdefault(key, {})[suffix] = (member.offset_data, member.size)
            except tarfile.TarError as error:
                raise ValueError(error) from None
            size = file.seek(0, io.SEEK_END)
        for key, parts in self._members.items():
            if parts.keys() != {"json", "npy"} or any(start + length > size for start, length in parts.values()):
                raise CodecError(f"{path}: the shard is damaged ({key} is not whole); get it again")
        self._keys = list(self._members)

    def ids(self) -> Sequence[str]:
        return [id_of(key) for key in self._keys]

    def read(self, row: int) -> TokenEntry:
        parts = self._members[self._keys[row]]
        with reading(self._path), self._path.open("rb") as file:

            def content(suffix: str) -> bytes:
                start, size = parts[suffix]
                file.seek(start)
                return file.read(size)

            tokens = np.load(io.BytesIO(content("npy")), allow_pickle=False)
            return TokenEntry.from_facts(json.loads(content("json")), tokens)


def _write(path: Path, entries: Sequence[TokenEntry], model: Model) -> None:
    dtype = token_dtype(model.codebook_size)
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            tokens = io.BytesIO()
            np.save(tokens, entry.tokens.numpy().astype(dtype))
            facts = json.dumps(entry.facts(), ensure_ascii=False).encode()
            for suffix, content in (("json", facts), ("npy", tokens.getvalue())):
                member = tarfile.TarInfo(
                    f"{member_key(entry.id)}.{suffix}"
                )  # no time and no owner: the same bytes again
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))


FORMAT = Format(".tar", _write, _Reader)
