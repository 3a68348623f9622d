"""Where crops are cut from: manifests or tar shards, in a form that is small and shared between processes.

A corpus may have hundreds of thousands of recordings, or tens of millions, and every loader worker has to know them.
Manifests become four flat tensors, which workers map rather than copy; of shards only those in use are looked up.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import codec.audio as audio_io
from codec.config import DataConfig
from codec.errors import CodecError
from codec.manifest import Utterance, walk_manifest
from codec.tarshards import AudioShard, Member, OpenTars, Rates, ShardTable, find_shards, read_table

logger = logging.getLogger(__name__)

Recording = Utterance | Member


def say_resampled(rates: Counter[int], sample_rate: int, of: str) -> None:
    """Say how many of which rates are resampled to that of the model; nothing where none is.

    Args:
        rates: how many have which rate, Hz.
        sample_rate: of the model, Hz.
        of: how many of what there are in all.
    """
    other = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(rates.items()) if rate != sample_rate)
    if other:
        logger.info("resampled to %d Hz: %s of %s", sample_rate, other, of)


class Recordings(ABC):
    """The recordings of a training set."""

    @abstractmethod
    def __len__(self) -> int:
        """Recordings, which is the length of an epoch."""

    @abstractmethod
    def pick(self, seed: int, epoch: int, place: int) -> Recording:
        """The recording at ``place`` of an epoch's own order, which has each once. A pure function."""

    @abstractmethod
    def read(self, recording: Recording, start: int, num_samples: int) -> tuple[Tensor, int]:
        """As :func:`codec.audio.read`, of a recording that :meth:`pick` gave."""

    @abstractmethod
    def sample_rates(self) -> Counter[int]:
        """How many recordings are said to have which rate, Hz; without those of which that is not known."""


class ManifestRecordings(Recordings):
    """Utterances of manifests: path, length and rate of each, nothing else."""

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        names, ends, lengths, rates = bytearray(), array("q", [0]), array("q"), array("i")
        for utterance in utterances:
            names += os.fsencode(utterance.path)
            ends.append(len(names))
            lengths.append(utterance.num_samples)
            rates.append(utterance.sample_rate)
        # Tensors and not arrays: what a loader's worker gets is the same memory.
        self._names = torch.frombuffer(names, dtype=torch.uint8)
        self._ends = torch.frombuffer(ends, dtype=torch.int64)
        self._lengths = torch.frombuffer(lengths, dtype=torch.int64)  # samples
        self._rates = torch.frombuffer(rates, dtype=torch.int32)  # Hz
        self._order: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, place: int) -> Utterance:
        """The utterance at ``place`` of the manifests, without id and text."""
        first, stop = self._ends[place : place + 2].tolist()
        path = Path(os.fsdecode(self._names[first:stop].numpy().tobytes()))
        return Utterance("", path, int(self._lengths[place]), int(self._rates[place]))

    def pick(self, seed: int, epoch: int, place: int) -> Utterance:
        """An epoch's order is a permutation of all."""
        if self._order[0] != (seed, epoch):
            self._order = ((seed, epoch), np.random.default_rng([seed, 0, epoch]).permutation(len(self)))
        return self[int(self._order[1][place])]

    def read(self, recording: Recording, start: int, num_samples: int) -> tuple[Tensor, int]:
        """By seeking in its file."""
        return audio_io.read(recording.path, start, num_samples)

    def sample_rates(self) -> Counter[int]:
        """Of all."""
        return Counter(dict(zip(*(part.tolist() for part in self._rates.unique(return_counts=True)), strict=True)))


class ShardRecordings(Recordings):
    """Recordings of tar shards on a disk.

    An epoch takes the shards in an order of its own, ``together`` at a time; the recordings of these are in random
    order. So a worker looks up and reads a few files at a time, however large the corpus.
    """

    def __init__(self, shards: Sequence[AudioShard], together: int) -> None:
        self.shards, self.together = list(shards), together
        self._counts = np.array([shard.utterances for shard in shards])
        self._tables: OrderedDict[int, ShardTable] = OrderedDict()
        self._tars = OpenTars()
        self._epoch: tuple[tuple[int, int], np.ndarray, np.ndarray] | None = None  # order of shards, first of each
        self._group: tuple[tuple[int, int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_tables": OrderedDict(), "_group": None}

    def pick(self, seed: int, epoch: int, place: int) -> Member:
        """See the class."""
        order, firsts = self._epoch_order(seed, epoch)
        group = (int(np.searchsorted(firsts, place, side="right")) - 1) // self.together
        first = group * self.together
        stop = min(first + self.together, len(order))
        if self._group is None or self._group[0] != (seed, epoch, group):
            count = int(firsts[stop] - firsts[first])
            self._group = ((seed, epoch, group), np.random.default_rng([seed, 2, epoch, group]).permutation(count))
        there = int(firsts[first] + self._group[1][place - firsts[first]])
        which = int(np.searchsorted(firsts, there, side="right")) - 1
        return self._table(int(order[which]))[there - int(firsts[which])]

    def _epoch_order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if self._epoch is None or self._epoch[0] != (seed, epoch):
            order = np.random.default_rng([seed, 0, epoch]).permutation(len(self.shards))
            firsts = np.concatenate([[0], self._counts[order].cumsum()])
            self._epoch = ((seed, epoch), order, firsts)
        return self._epoch[1:]

    def read(self, recording: Recording, start: int, num_samples: int) -> tuple[Tensor, int]:
        """By seeking in its tar file."""
        assert isinstance(recording, Member)
        return self._tars.read(recording, start, num_samples)

    def sample_rates(self) -> Counter[int]:
        """As the shards' index says; one of an older version does not."""
        return count_rates(shard.sample_rates for shard in self.shards)

    def _table(self, number: int) -> ShardTable:
        if number in self._tables:
            self._tables.move_to_end(number)
            return self._tables[number]
        shard = self.shards[number]
        table = read_table(shard.path)
        if len(table) != shard.utterances:
            raise CodecError(
                f"{shard.path}: {len(table)} recordings are listed beside it, its folder's index promises "
                f"{shard.utterances}; get both again, or make them again with recipes/shard.py"
            )
        self._tables[number] = table
        if len(self._tables) > 2 * self.together:  # a batch may stand on the border of two groups
            self._tables.popitem(last=False)
        return table


def count_rates(shards: Iterable[Rates]) -> Counter[int]:
    """How many recordings of all shards have which rate, Hz."""
    found: Counter[int] = Counter()
    for rates in shards:
        found.update(dict(rates))
    return found


def open_recordings(config: DataConfig) -> Recordings:
    """What ``data.train`` or ``data.shards`` names.

    Raises:
        CodecError: a manifest or shard that is missing or damaged.
    """
    if config.shards:
        return ShardRecordings(find_shards(config.shards), config.shuffle_shards)
    return ManifestRecordings(utterance for path in config.train for utterance in walk_manifest(path))
