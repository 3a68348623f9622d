"""Where a token dataset's recordings lie: shards that are opened when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from codec.errors import CodecError
from codec.pretrained import sha256_of
from codec.tokenstore.formats import ShardReader, find_format
from codec.tokenstore.formats.base import AGAIN, reading
from codec.tokenstore.index import Index, Model, Shard, shard_names

OPEN_SHARDS = 16  # kept open at a time


class Store(Protocol):
    """What :class:`codec.TokenDataset` reads."""

    @property
    def model(self) -> Model:
        """Whose tokens they are."""

    @property
    def shards(self) -> Sequence[Shard]:
        """In order."""

    def reader(self, number: int) -> ShardReader:
        """The shard of this place in :attr:`shards`, opened."""

    def about_ids(self, id_: str) -> str:
        """What to say to whoever asks for an id that there is not; ``id_``: one that there is."""


class Shards:
    """Those beside an ``index.json``, each compared with its checksum when it is opened first.

    Args:
        folder: of the dataset.
        index: what is in it.
        files: only these shards of it; None: all.

    Raises:
        CodecError: a shard that the index does not know, or a package that the format needs is missing.
    """

    def __init__(self, folder: Path, index: Index, files: Sequence[Path] | None) -> None:
        find_format(index.format)  # tells now what is missing
        wanted = set(shard_names(index, files))
        self._folder, self._format = folder, index.format
        self.model = index.model
        self.shards = [shard for shard in index.shards if shard.file in wanted]
        self._readers: OrderedDict[int, ShardReader] = OrderedDict()
        self._checked: set[int] = set()  # whose checksum has been compared

    def __getstate__(self) -> dict[str, object]:
        # Open files stay where they are; a loader's worker opens its own.
        return {**self.__dict__, "_readers": OrderedDict()}

    def reader(self, number: int) -> ShardReader:
        """The shard of this place.

        Raises:
            CodecError: it is missing or damaged.
        """
        if number in self._readers:
            self._readers.move_to_end(number)
            return self._readers[number]
        shard = self.shards[number]
        if number not in self._checked:
            self._compare(shard)
            self._checked.add(number)
        path = self._folder / shard.file
        reader = find_format(self._format).open(path)
        if len(reader.ids()) != shard.utterances:
            raise CodecError(
                f"{path}: holds {len(reader.ids())} recordings, the index promises {shard.utterances}; {AGAIN}"
            )
        self._readers[number] = reader
        if len(self._readers) > OPEN_SHARDS:
            self._readers.popitem(last=False)
        return reader

    def about_ids(self, id_: str) -> str:
        """Where all ids are told."""
        return f"codec tokens {self._folder} --format json lists all"

    def _compare(self, shard: Shard) -> None:
        for name, digest in shard.sha256.items():
            path = self._folder / name
            with reading(path):
                if sha256_of(path) != digest:
                    raise CodecError(f"{path}: the shard is damaged (SHA-256 differs from the index's); {AGAIN}")
