"""Crops from shards that come as streams: from an object store, a web server, or a program's output.

Each loader worker of each process has shards of its own and reads them from start to end, as webdataset does. What
webdataset cannot do is to go on where a run stopped. Here the order of the recordings is computed beforehand, from the
counts in the shards' ``index.json``; so the order, the contents of the shuffle buffer and every crop follow from (seed,
number of workers in all, which of them, how many crops before), and a resumed run reads what an undisturbed one reads.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import re
import tarfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import soundfile
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from codec.audio import AUDIO_SUFFIXES
from codec.audio.blocks import reason_of
from codec.audio.files import read_segment
from codec.config import DataConfig
from codec.errors import CodecError, how_to_install
from codec.manifest import Utterance
from codec.tarshards.index import INDEX_FILE, Rates, expand, is_remote, rates_of
from codec.tarshards.member import Member
from codec.training.augmentation import Augmentation
from codec.training.crops import read_crop
from codec.training.recordings import count_rates, say_resampled

logger = logging.getLogger(__name__)

Place = tuple[int, int]  # shard, recording in it
_STATISTICS_RECORDINGS = 10_000  # of which crops for statistics are taken, or what little more the last shard brings
_TRIES = 6  # of opening a stream that breaks off, without one new recording
_PAUSE_S = 1.0  # before the second try; doubled before each further one


class RemoteShard(NamedTuple):
    """A shard as webdataset names it."""

    url: str
    utterances: int
    sample_rates: Rates = ()  # nothing where the index is of an older version


class Share(NamedTuple):
    """Which of how many readers this is; together they take every recording of a pass once."""

    own: int
    total: int


class StreamedCrops(IterableDataset[Tensor]):
    """Random crops (num_samples,), without end.

    Args:
        shards: at least one for every worker of every process.
        sample_rate: of the model, Hz.
        config: lengths, augmentation and the shuffle buffer.
        seed: of order and places.
    """

    def __init__(self, shards: Sequence[RemoteShard], sample_rate: int, config: DataConfig, seed: int) -> None:
        self.shards, self.sample_rate, self.seed = list(shards), sample_rate, seed
        self.num_samples = round(config.crop_s * sample_rate)
        self.config, self.buffer = config, config.shuffle_buffer
        self._counts = [shard.utterances for shard in shards]
        say_resampled(
            count_rates(shard.sample_rates for shard in shards), sample_rate, f"{sum(self._counts)} utterances"
        )
        # What a loader's workers of this process give: set by for_loader.
        self._rank, self._world, self._share, self._first_batch = 0, 1, 1, 0
        self._ahead: tuple[int, Iterator[Tensor]] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_ahead": None}  # an open stream stays in this process

    def for_loader(self, rank: int, world: int, share: int, first_batch: int, workers: int) -> StreamedCrops:
        """The same crops for process ``rank`` of ``world``, whose batches have ``share`` crops, from a batch on.

        Raises:
            CodecError: fewer shards than workers.
        """
        readers = world * max(1, workers)
        if len(self.shards) < readers:
            raise CodecError(
                f"data.shards: {len(self.shards)} shards for {world} processes x {max(1, workers)} workers; streamed "
                "shards are not divided, so set data.workers lower, or make smaller shards"
            )
        self._rank, self._world, self._share, self._first_batch = rank, world, share, first_batch
        return self

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        # The loader asks its workers in turn, from the first one on; the first one has to give the first batch.
        own = (self._first_batch + number) % workers
        batches_before = -(-(self._first_batch - own) // workers)
        return self.crops(Share(self._rank * workers + own, self._world * workers), batches_before * self._share)

    def __getitem__(self, position: int) -> Tensor:
        """A crop for statistics, from a few of the shards; a function of (seed, position).

        It is read on from the last one, so positions should rise slowly. :meth:`close` ends the stream.
        """
        if self._ahead is None or self._ahead[0] > position:
            few = self._few()
            number, before = divmod(position, sum(few._counts))
            self._ahead = (position, few.crops(Share(0, 1), before, number))
        at, crops = self._ahead
        for _ in range(position - at):
            next(crops)
        self._ahead = (position + 1, crops)
        return next(crops)

    def close(self) -> None:
        """Drop the stream that crops for statistics came from, and its buffer."""
        self._ahead = None

    def _few(self) -> StreamedCrops:
        """The same of so many shards as statistics need: the order of a whole corpus would fill gigabytes."""
        chosen: list[int] = []
        for shard in self._shards_of(Share(0, 1), 0):
            chosen.append(shard)
            if sum(self._counts[shard] for shard in chosen) >= _STATISTICS_RECORDINGS:
                break
        few = copy.copy(self)
        few.shards = [self.shards[shard] for shard in chosen]
        few._counts = [self._counts[shard] for shard in chosen]
        return few

    def crops(self, share: Share, before: int, number: int = 0) -> Iterator[Tensor]:
        """The crops of one reader from pass ``number`` on, after the first ``before``."""
        while True:
            mine = self._shards_of(share, number)
            count = sum(self._counts[shard] for shard in mine)
            if before < count:
                order = self._order(mine, share, number)
                recordings = self._recordings(mine, order[before:])
                for place, (shard, content) in enumerate(recordings, before):
                    yield self._crop(shard, content, np.random.default_rng([self.seed, 1, *share, number, place]))
            before = max(0, before - count)
            number += 1

    def _shards_of(self, share: Share, number: int) -> list[int]:
        order = np.random.default_rng([self.seed, 0, number]).permutation(len(self.shards))
        return [int(shard) for shard in order[share.own :: share.total]]

    def _order(self, mine: Sequence[int], share: Share, number: int) -> list[Place]:
        """What comes out of a shuffle buffer that the recordings of these shards go through one by one."""
        rng = np.random.default_rng([self.seed, 2, *share, number])
        held: list[Place] = []
        order: list[Place] = []
        places = ((shard, row) for shard in mine for row in range(self._counts[shard]))
        for place in chain(places, [None] * self.buffer):
            if place is not None:
                held.append(place)
            if held and (place is None or len(held) > self.buffer):
                chosen = int(rng.integers(len(held)))
                held[chosen], held[-1] = held[-1], held[chosen]
                order.append(held.pop())
        return order

    def _recordings(self, mine: Sequence[int], order: Sequence[Place]) -> Iterator[tuple[int, bytes]]:
        """The recordings of ``order``, read in the order of the shards; never more of them held than the buffer has."""
        wanted = set(order)
        needed = [shard for shard in mine if any((shard, row) in wanted for row in range(self._counts[shard]))]
        coming = ((shard, row, content) for shard in needed for row, content in enumerate(self._read(shard)))
        held: dict[Place, bytes] = {}
        for place in order:
            while place not in held:
                shard, row, content = next(coming)
                if (shard, row) in wanted:
                    held[shard, row] = content
            yield place[0], held.pop(place)

    def _read(self, shard: int) -> Iterator[bytes]:
        """The audio of a shard, recording by recording; where the stream breaks off, it is opened again.

        Raises:
            CodecError: ``_TRIES`` streams in a row broke off without one new recording, or the index is wrong.
        """
        url, promised = self.shards[shard].url, self._counts[shard]
        count, failures = 0, 0
        while True:
            wanted = True
            try:
                with _opened(url) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                    number = 0
                    for member in archive:
                        if not member.isfile() or not member.name.lower().endswith(AUDIO_SUFFIXES):
                            continue
                        number += 1
                        if number <= count:  # delivered from an earlier stream
                            continue
                        file = archive.extractfile(member)
                        assert file is not None
                        content = file.read()
                        count, failures, wanted = number, 0, False
                        yield content
                        wanted = True
                break
            except (OSError, tarfile.TarError, EOFError) as error:
                if not wanted:  # nobody reads on, and the program that fetches has been cut off
                    return
                failures += 1
                reason = f"the stream broke off after {count} of {promised} recordings ({' '.join(str(error).split())})"
                if failures == _TRIES:
                    again = f"{_TRIES} times; see that it can be fetched whole, and go on with --resume"
                    raise CodecError(f"{url}: {reason}, {again}") from None
                pause_s = _PAUSE_S * 2 ** (failures - 1)
                logger.warning("%s: %s; trying again in %g s", url, reason, pause_s)
                time.sleep(pause_s)
        if number != promised:
            raise CodecError(f"{url}: has {number} recordings, {INDEX_FILE} promises {promised}; store both again")

    def _crop(self, shard: int, content: bytes, rng: np.random.Generator) -> Tensor:
        name = f"{self.shards[shard].url} (a recording)"
        try:
            with soundfile.SoundFile(io.BytesIO(content)) as file:
                recording = Member(name, 0, len(content), file.frames, file.samplerate)

                def read(_: Utterance | Member, start: int, num_samples: int) -> tuple[Tensor, int]:
                    return read_segment(file, name, start, num_samples), file.samplerate

                where = float(rng.random())
                return Augmentation.draw(self.config, rng).read(
                    self.num_samples,
                    self.sample_rate,
                    lambda wanted: read_crop(recording, self.sample_rate, wanted, where, read),
                )
        except soundfile.LibsndfileError as error:
            raise CodecError(
                f"{name}: not audio that can be read ({reason_of(error)}); store the shard again"
            ) from None


def find_remote_shards(patterns: Sequence[str]) -> list[RemoteShard]:
    """All shards of patterns as webdataset reads them, with the counts of the ``index.json`` in the same place.

    Raises:
        CodecError: an index that cannot be fetched, or that does not know a shard.
    """
    urls = list(dict.fromkeys(url for pattern in patterns for url in expand(pattern)))
    indices: dict[str, dict[str, tuple[int, Rates]]] = {}
    shards = []
    for url in urls:
        name = re.findall(r"[^\s/]+\.tar", url)
        if not name:
            raise CodecError(f"{url}: names no tar file; write s3://bucket/folder/train-{{000000..000127}}.tar")
        index = url.replace(name[-1], INDEX_FILE)
        if index not in indices:
            indices[index] = _fetch_index(index)
        if name[-1] not in indices[index]:
            raise CodecError(f"{url}: {index} does not list it; store the index of recipes/shard.py beside the shards")
        shards.append(RemoteShard(url, *indices[index][name[-1]]))
    return [shard for shard in shards if shard.utterances]


def is_streamed(config: DataConfig) -> bool:
    """Whether any of the shards is not on a disk."""
    return any(map(is_remote, config.shards))


def _fetch_index(url: str) -> dict[str, tuple[int, Rates]]:
    """How many recordings a shard has, and at which rates, by file name."""
    try:
        with _opened(url) as stream:
            entry = json.loads(stream.read())
        return {shard["file"]: (shard["utterances"], rates_of(shard)) for shard in entry["shards"]}
    except OSError as error:
        reason = " ".join(str(error).split())
        raise CodecError(
            f"{url}: cannot be fetched ({reason}); store the index of recipes/shard.py beside the shards"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CodecError(f"{url}: not the index of shards; store that of recipes/shard.py there") from None


def _opened(url: str) -> Any:
    """A stream of bytes, through webdataset: curl, gsutil, aws and others by the kind of URL."""
    try:
        from webdataset.gopen import gopen
    except ImportError:
        raise CodecError(f"{url}: fetching shards needs webdataset; {how_to_install('webdataset', 'data')}") from None
    return gopen(url)
