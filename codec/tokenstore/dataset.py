"""Reading token datasets back."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import index
from pathlib import Path

import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from codec.bitstream import SUFFIX
from codec.errors import CodecError
from codec.folders import token_files_below
from codec.model import Codec
from codec.tokenstore.entry import TokenEntry
from codec.tokenstore.formats.base import AGAIN
from codec.tokenstore.index import INDEX_FILE, Index, read_index
from codec.tokenstore.shards import Shards, Store
from codec.tokenstore.token_files import TokenFiles


class TokenDataset(Dataset[TokenEntry]):
    """The recordings of a token dataset, whatever its format.

    >>> data = TokenDataset("exp/tokens")
    >>> len(data), data[0].tokens, data[-1].text       # int64 tensors (F,), read when asked for
    >>> data.find("1089_1089_000001_000000")           # by id
    >>> loader = DataLoader(data.stream(shuffle=True), batch_size=None, num_workers=4)

    Args:
        source: the folder of a dataset; some of its shards (files beside its ``index.json``); or a folder of ``.svq``
            files (:class:`codec.tokenstore.token_files.TokenFiles`).

    Raises:
        CodecError: no index and no ``.svq`` file there, a shard that the index does not know, ``.svq`` files of several
            models, or a package that the format needs is missing.
    """

    def __init__(self, source: str | Path | Sequence[str | Path]) -> None:
        paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(item) for item in source]
        if not paths:
            raise CodecError("no shards given; give the folder of a token dataset, or files in one")
        if len(paths) == 1 and paths[0].is_dir():
            self.folder, files = paths[0], None
        else:
            self.folder, files = paths[0].parent, paths
            if len(paths) > 1 and all(path.is_dir() for path in paths):
                raise CodecError(
                    f"{paths[0]}, {paths[1]}: a TokenDataset is of one folder; torch.utils.data.ConcatDataset joins "
                    "several"
                )
            if outside := [path for path in paths if path.parent != self.folder]:
                raise CodecError(f"{outside[0]}: not in {self.folder}; give shards of one dataset")
        if not (self.folder / INDEX_FILE).exists() and not paths[0].exists():
            raise CodecError(f"{paths[0]}: no such file or folder; give the folder of a token dataset, or files in one")
        if files and not (self.folder / INDEX_FILE).exists() and files[0].suffix.lower() == SUFFIX:
            raise CodecError(f"{files[0]}: is one recording, which codec.load_tokens reads; give the folder of several")
        self.index: Index | None = None  # of .svq files there is none
        self._store: Store
        if files is None and not (self.folder / INDEX_FILE).exists():
            self._store = self._token_files()
        else:
            self.index = read_index(self.folder)
            self._store = Shards(self.folder, self.index, files)
        self.model, self.shards = self._store.model, self._store.shards
        self._stops = list(accumulate(shard.utterances for shard in self.shards))
        self._places: dict[str, int] | None = None

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def __getitem__(self, place: int) -> TokenEntry:
        """The recording at ``place``; negative ones count from the end.

        Raises:
            IndexError: outside the dataset.
            CodecError: a shard that is missing or damaged.
        """
        try:
            place = index(place)
        except TypeError:
            what = f"place {place!r}: expected a whole number; find(id) gives the recording of an id"
            raise TypeError(what) from None
        if not -len(self) <= place < len(self):
            raise IndexError(f"place {place} of a dataset with {len(self)} recordings")
        place %= len(self)
        number = bisect.bisect_right(self._stops, place)
        first = self._stops[number] - self.shards[number].utterances
        entry = self._store.reader(number).read(place - first)
        low, high = (int(value) for value in entry.tokens.aminmax()) if entry.num_tokens else (0, 0)
        if low < 0 or high >= self.model.codebook_size:
            shard, size = self.folder / self.shards[number].file, self.model.codebook_size
            raise CodecError(f"{shard}: {entry.id} has tokens from {low} to {high}, of {size} codes; {AGAIN}")
        return entry

    def __iter__(self) -> Iterator[TokenEntry]:
        return (self[place] for place in range(len(self)))

    def ids(self) -> list[str]:
        """Of all recordings, in order; opens every shard."""
        return [id_ for number in range(len(self.shards)) for id_ in self._store.reader(number).ids()]

    def find(self, id_: str) -> TokenEntry:
        """The recording of an id.

        Raises:
            CodecError: there is none.
        """
        if self._places is None:
            self._places = {other: place for place, other in enumerate(self.ids())}
        if id_ not in self._places:
            known = self._store.about_ids(next(iter(self._places), ""))
            raise CodecError(f"{self.folder}: no recording with the id {id_!r}; {known}")
        return self[self._places[id_]]

    def check_model(self, codec: Codec, name: str = "the model given") -> None:
        """Make sure that a model may decode these tokens.

        Raises:
            CodecError: they are not its tokens.
        """
        if not codec.decodes(self.model.fingerprint):
            raise CodecError(
                f"{self.folder}: made by encoder {self.model.fingerprint} ({self.model.name}), but {name} has encoder "
                f"{codec.token_fingerprint}; decode with the model that encoded it"
            )

    def stream(
        self, *, shuffle: bool = False, seed: int = 0, rank: int | None = None, world: int | None = None
    ) -> TokenStream:
        """An iterable for ``DataLoader(..., batch_size=None)``, see :class:`TokenStream`."""
        return TokenStream(self, shuffle=shuffle, seed=seed, rank=rank, world=world)

    def _token_files(self) -> TokenFiles:
        try:
            found = token_files_below(self.folder)
        except CodecError as error:
            raise CodecError(
                f"{error}; a token dataset has {INDEX_FILE} beside its shards, recipes/tokenize.py writes it when all "
                "of them are done"
            ) from None
        return TokenFiles(self.folder, found)


class TokenStream(IterableDataset[TokenEntry]):
    """The recordings of a dataset, shared over the processes and their loader workers: every one once, nobody's twice.

    Each worker takes one run of recordings of almost equal number, from as few shards as possible. With ``shuffle`` the
    shards come in another order each epoch, and so do the recordings within a shard; the order follows from the seed
    and :meth:`set_epoch` alone. (Do not hand it to ``accelerator.prepare``, which would share it once more.)
    """

    def __init__(
        self, data: TokenDataset, *, shuffle: bool, seed: int, rank: int | None = None, world: int | None = None
    ) -> None:
        """``rank`` and ``world``: None asks ``torch.distributed`` at each pass; one process without it."""
        self.data, self.shuffle, self.seed = data, shuffle, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # a loader's workers outlive an epoch
        self._rank, self._world = rank, world
        if not 0 <= self.rank < self.world:
            raise CodecError(f"rank={self.rank}, world={self.world}: expected 0 <= rank < world")

    # Asked late: a stream that is made before the process group would have every process read all.
    @property
    def rank(self) -> int:
        """This process's number."""
        if self._rank is not None:
            return self._rank
        return torch.distributed.get_rank() if _is_distributed() else 0

    @property
    def world(self) -> int:
        """Processes that share the recordings."""
        if self._world is not None:
            return self._world
        return torch.distributed.get_world_size() if _is_distributed() else 1

    def __getstate__(self) -> dict[str, object]:
        # A loader's worker that is not forked knows of no other processes.
        return {**self.__dict__, "_rank": self.rank, "_world": self.world}

    @property
    def epoch(self) -> int:
        """Which pass :meth:`set_epoch` has chosen; 0 at first."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; call it before iterating. Workers that persist hear of it, too."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[TokenEntry]:
        worker = get_worker_info()
        workers, own = (worker.num_workers, worker.id) if worker else (1, 0)
        shares, share = self.world * workers, self.rank * workers + own
        start, stop = (len(self.data) * edge // shares for edge in (share, share + 1))
        shards = self.data.shards
        generator = epoch_generator(self.seed, self.epoch)
        order = torch.randperm(len(shards), generator=generator).tolist() if self.shuffle else range(len(shards))
        firsts = [0, *accumulate(shard.utterances for shard in shards)]
        position = 0
        for number in order:
            count = shards[number].utterances
            rows = torch.randperm(count, generator=generator).tolist() if self.shuffle else range(count)
            for row in rows[max(0, start - position) : max(0, stop - position)]:
                yield self.data[firsts[number] + row]
            position += count


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """What shuffles one pass over tokens, on the CPU; any whole numbers will do."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (1 << 64))  # what a generator takes


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
