"""Crops of speech: which, from where, in which order. All of it follows from (seed, position) alone.

Position ``n`` counts the crops of the whole run, over all processes. Resuming, another number of loader workers or
another number of processes therefore changes nothing: a run is a walk along n.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from codec.config import DataConfig
from codec.errors import CodecError
from codec.manifest import Utterance, read_manifest
from codec.training.augmentation import Augmentation
from codec.training.crops import read_crop
from codec.training.recordings import ManifestRecordings, Recordings, open_recordings, say_resampled
from codec.training.streamed import StreamedCrops, find_remote_shards, is_streamed


class CropDataset(Dataset[Tensor]):
    """Random crops; every utterance once an epoch, in an order of its own each epoch.

    Crops are read by seeking, and resampled where the file's rate is not the model's. An utterance shorter than the
    crop is repeated.
    """

    def __init__(
        self, recordings: Recordings | Sequence[Utterance], sample_rate: int, config: DataConfig, seed: int
    ) -> None:
        self.recordings = recordings if isinstance(recordings, Recordings) else ManifestRecordings(recordings)
        self.sample_rate = sample_rate
        self.num_samples = round(config.crop_s * sample_rate)
        self.config = config
        self.seed = seed
        say_resampled(self.recordings.sample_rates(), sample_rate, f"{len(self.recordings)} utterances")

    def __getitem__(self, position: int) -> Tensor:
        """(num_samples,) at the model's rate."""
        epoch, place = divmod(position, len(self.recordings))
        recording = self.recordings.pick(self.seed, epoch, place)
        rng = np.random.default_rng([self.seed, 1, position])
        where = float(rng.random())
        return Augmentation.draw(self.config, rng).read(
            self.num_samples,
            self.sample_rate,
            lambda wanted: read_crop(recording, self.sample_rate, wanted, where, self.recordings.read),
        )


class StepSampler(Sampler[list[int]]):
    """The positions of this process' share of every micro-batch, from ``start_step`` on."""

    def __init__(
        self, batch_size: int, start_step: int, stop_step: int, *, accumulate: int = 1, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size % (world * accumulate):
            raise CodecError(
                f"data.batch_size={batch_size}: must be a multiple of {world} processes x training.accumulate="
                f"{accumulate}; try {world * accumulate * max(1, round(batch_size / (world * accumulate)))}"
            )
        self.share = batch_size // (world * accumulate)
        self.micro_batches = range(start_step * accumulate, stop_step * accumulate)
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for micro_batch in self.micro_batches:
            first = (micro_batch * self.world + self.rank) * self.share
            yield list(range(first, first + self.share))

    def __len__(self) -> int:
        return len(self.micro_batches)


def open_crops(config: DataConfig, sample_rate: int, seed: int) -> CropDataset | StreamedCrops:
    """The crops of ``data.train`` or ``data.shards``.

    Raises:
        CodecError: a manifest or shard that is missing or damaged.
    """
    if is_streamed(config):
        return StreamedCrops(find_remote_shards(config.shards), sample_rate, config, seed)
    return CropDataset(open_recordings(config), sample_rate, config, seed)


def crop_loader(
    dataset: CropDataset | StreamedCrops, sampler: StepSampler, workers: int, *, pin_memory: bool
) -> Iterator[Tensor]:
    """Batches (share, 1, num_samples) in the sampler's order; of streamed crops, as many.

    Raises:
        CodecError: an utterance that cannot be read, in one line, from whichever worker met it.
    """
    streamed = isinstance(dataset, StreamedCrops)
    if isinstance(dataset, StreamedCrops):
        dataset = dataset.for_loader(sampler.rank, sampler.world, sampler.share, sampler.micro_batches.start, workers)
    loader = DataLoader(
        dataset,
        batch_size=sampler.share if streamed else 1,
        batch_sampler=None if streamed else sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,  # forking a process with threads can hang
        worker_init_fn=_outlive_one_sigterm,
        generator=torch.Generator(),  # else it draws from the global one, and a resumed run would drop out otherwise
    )
    try:
        for batch in islice(loader, len(sampler)):
            yield batch.unsqueeze(1)
    except CodecError as error:
        # From a worker, the message is a whole traceback that ends with ours.
        raise CodecError(str(error).strip().splitlines()[-1].removeprefix("codec.errors.CodecError: ")) from None


def _outlive_one_sigterm(worker: int) -> None:
    """A preempted job's signal reaches every process of it, and the step under way still wants its batches.

    The second signal, with which Python ends what is left of its workers, is obeyed.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def validation_crops(
    utterances: Sequence[Utterance], sample_rate: int, config: DataConfig, least: int = 1
) -> list[Tensor]:
    """Fixed crops from the middle of utterances spread evenly over the list, each (T,); shorter ones whole.

    What has less than ``least`` samples is repeated up to there.
    """
    count = min(config.validation_crops, len(utterances))
    chosen = [utterances[i * len(utterances) // count] for i in range(count)]
    say_resampled(Counter(item.sample_rate for item in chosen), sample_rate, f"{count} validation crops")
    wanted = round(config.validation_crop_s * sample_rate)
    own = [min(wanted, item.num_samples * sample_rate // item.sample_rate) for item in chosen]
    return [
        read_crop(item, sample_rate, max(least, length), where=0.5) for item, length in zip(chosen, own, strict=True)
    ]


def read_manifests(paths: Sequence[str]) -> list[Utterance]:
    """All utterances of several manifests, in order."""
    return [utterance for path in paths for utterance in read_manifest(Path(path))]


def stack_equal(crops: Sequence[Tensor]) -> Iterator[Tensor]:
    """Group crops of one length into batches (B, 1, T), keeping the order of first appearance."""
    by_length: dict[int, list[Tensor]] = {}
    for crop in crops:
        by_length.setdefault(crop.shape[-1], []).append(crop)
    for group in by_length.values():
        yield torch.stack(group).unsqueeze(1)
