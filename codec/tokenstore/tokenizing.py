"""Making a token dataset: shard by shard, over as many processes as there are, again and again until it is whole.

Which utterance is in which shard, and in which batch it is encoded, follows from the manifests and settings alone. So a
shard is the same file whichever process makes it, and a killed run goes on with the shards that are not done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from codec.errors import CodecError
from codec.manifest import Utterance
from codec.model import Codec
from codec.pretrained import sha256_of
from codec.quantizers.usage import CodeUsage
from codec.resumable import Progress, ShardFolder, check_utterances, identity
from codec.tokenstore.card import write_card
from codec.tokenstore.encoding import BatchEncoder
from codec.tokenstore.entry import TokenEntry
from codec.tokenstore.formats import Format, find_format
from codec.tokenstore.index import INDEX_FILE, Index, Model, Shard

SHARDS = "tokens-*"


@dataclass(frozen=True)
class Options:
    """How a dataset is made; none of it changes a token."""

    format: str = "parquet"
    shard_hours: float = 1.0
    batch_s: float = 60.0  # seconds of audio that are encoded at once
    threads: int = 2  # of each process, for reading audio


def tokenize(
    codec: Codec,
    name: str,
    utterances: Sequence[Utterance],
    folder: str | Path,
    options: Options,
    *,
    state: PartialState | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Index:
    """Encode ``utterances`` into a dataset. Shards that ``folder`` has already are kept, but those with failures.

    Every process calls this with the same arguments.

    Args:
        codec: in eval mode, on this process's device.
        name: what the dataset calls the model.
        utterances: of all manifests.
        folder: of the dataset.
        options: see :class:`Options`.
        state: Accelerate's; None: the current one.
        overwrite: drop what ``folder`` holds.
        progress: called after every recording of this process, with its seconds.

    Returns:
        The index, the same in every process. Recordings that cannot be read are in ``failed``, not in a shard.

    Raises:
        CodecError: no utterances, one id twice, a folder with tokens of other settings, or one that cannot be written.
    """
    state = state or PartialState()
    format_ = find_format(options.format)
    store = ShardFolder(folder)
    model = Model(name, codec.token_fingerprint, codec.codebook_size, codec.sample_rate, codec.hop_length)
    plan = plan_shards(utterances, options.shard_hours)
    names = [f"tokens-{number:05d}{format_.suffix}" for number in range(len(plan))]
    if state.is_main_process:
        settings = _settings(model, utterances, options)
        store.open(settings, lambda _: (SHARDS, INDEX_FILE), SHARDS, overwrite=overwrite)
    state.wait_for_everyone()
    pending = [number for number, name in enumerate(names) if not _is_done(store, name)]
    state.wait_for_everyone()  # all have seen the same before anyone adds to it
    encoder = BatchEncoder(codec, options.batch_s, options.threads)
    for number in pending[state.process_index :: state.num_processes]:
        entries, failed = _encode(encoder, [utterances[place] for place in plan[number]], progress)
        format_.write(store.path / names[number], entries, model)
        _write_record(store, format_, names[number], entries, failed, codec.codebook_size)
    state.wait_for_everyone()
    index = _collect(options.format, model, store, names)
    if state.is_main_process:
        index.write(store.path)
        write_card(store.path, index)
    state.wait_for_everyone()
    return index


def plan_shards(utterances: Sequence[Utterance], shard_hours: float) -> list[list[int]]:
    """Places of the utterances of each shard: in order, each shard at most ``shard_hours``, or one utterance.

    Raises:
        CodecError: nothing to encode, or one id twice.
    """
    check_utterances(utterances)
    shards: list[list[int]] = []
    hours = 0.0
    for place, utterance in enumerate(utterances):
        hours += utterance.duration_s / 3600
        if not shards or hours > shard_hours:
            shards.append([])
            hours = utterance.duration_s / 3600
        shards[-1].append(place)
    return shards


def _encode(
    encoder: BatchEncoder, utterances: Sequence[Utterance], progress: Progress | None
) -> tuple[list[TokenEntry], list[dict[str, str]]]:
    """The entries in the order of ``utterances``, and what failed."""
    entries: dict[int, TokenEntry] = {}
    failed: dict[int, dict[str, str]] = {}
    for place, outcome in encoder.encode(utterances):
        item = utterances[place]
        if isinstance(outcome, CodecError):
            failed[place] = {"id": item.id, "reason": str(outcome)}
        else:
            tokens, num_samples = outcome
            entries[place] = TokenEntry(item.id, tokens, num_samples, item.text, item.speaker, item.split)
        if progress:
            progress(item.duration_s)
    return [entries[place] for place in sorted(entries)], [failed[place] for place in sorted(failed)]


# -- what a folder holds ----------------------------------------------------------------------------------------------


def _settings(model: Model, utterances: Sequence[Utterance], options: Options) -> dict[str, Any]:
    """Whatever a shard depends on. Not the size of batches: whoever runs out of memory goes on with smaller ones."""
    return {
        "model": model.fingerprint,
        "format": options.format,
        "shard_hours": options.shard_hours,
        "manifests": identity(utterances),
    }


def _write_record(
    store: ShardFolder,
    format_: Format,
    name: str,
    entries: Sequence[TokenEntry],
    failed: list[dict[str, str]],
    codebook_size: int,
) -> None:
    """Say that a shard is done, with what the index and the card need."""
    usage = CodeUsage(codebook_size)
    for entry in entries:
        usage.update(entry.tokens)
    codes, times = usage.occurring()
    path = store.path / name
    shard = Shard(
        name,
        len(entries),
        sum(entry.num_tokens for entry in entries),
        sum(entry.num_samples for entry in entries),
        path.stat().st_size,
        {file.name: sha256_of(file) for file in format_.files(path)},
    )
    counts = {"codes": codes.tolist(), "counts": times.tolist()}
    store.write_record(name, {"shard": asdict(shard), "failed": failed, **counts})


def _is_done(store: ShardFolder, name: str) -> bool:
    """Whether a shard is there as it was written, without failures, which another try may mend."""
    record = store.record(name)
    try:
        return record is not None and not record["failed"] and store.has(name, record["shard"]["num_bytes"])
    except (KeyError, TypeError):  # a damaged one: make the shard again
        return False


def _collect(format_name: str, model: Model, store: ShardFolder, names: Sequence[str]) -> Index:
    usage = CodeUsage(model.codebook_size)
    shards, failed = [], []
    for name in names:
        record = store.record(name)
        assert record is not None, "every shard is done"
        shards.append(Shard(**record["shard"]))
        failed += record["failed"]
        codes, times = (torch.tensor(record[key], dtype=torch.int64) for key in ("codes", "counts"))
        usage.update(codes, times)
    facts = usage.summary()
    return Index(format_name, model, tuple(shards), facts["codes_used"], facts["entropy_bits"], tuple(failed))
