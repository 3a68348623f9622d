"""Making a token dataset: shard by shard, over as many processes as there are, again and again until it is whole.

Which utterance is in which shard, and in which batch it is encoded, follows from the manifests and settings alone. So a
shard is the same file whichever process makes it, and a killed run goes on with the shards that are not done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from codec.errors import CodecError
from codec.files import write_text
from codec.manifest import Utterance
from codec.model import Codec
from codec.quantizers.usage import CodeUsage
from codec.tokenstore.card import write_card
from codec.tokenstore.encoding import BatchEncoder
from codec.tokenstore.entry import TokenEntry
from codec.tokenstore.formats import find_format
from codec.tokenstore.index import INDEX_FILE, Index, Model, Shard

PROGRESS = ".progress"  # folder of a record for each finished shard
SETTINGS = "settings.json"

Progress = Callable[[float], None]  # seconds of speech that are done now


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
    folder = Path(folder)
    model = Model(name, codec.fingerprint, codec.codebook_size, codec.sample_rate, codec.hop_length)
    plan = plan_shards(utterances, options.shard_hours)
    names = [f"tokens-{number:05d}{format_.suffix}" for number in range(len(plan))]
    records = [folder / PROGRESS / f"{file}.json" for file in names]
    if state.is_main_process:
        _open(folder, _settings(model, utterances, options), overwrite)
    state.wait_for_everyone()
    pending = [number for number, record in enumerate(records) if not _is_done(folder, record)]
    state.wait_for_everyone()  # all have seen the same before anyone adds to it
    encoder = BatchEncoder(codec, options.batch_s, options.threads)
    for number in pending[state.process_index :: state.num_processes]:
        entries, failed = _encode(encoder, [utterances[place] for place in plan[number]], progress)
        format_.write(folder / names[number], entries, model)
        _write_record(records[number], folder / names[number], entries, failed, codec.codebook_size)
    state.wait_for_everyone()
    index = _collect(options.format, model, records)
    if state.is_main_process:
        index.write(folder)
        write_card(folder, index)
    state.wait_for_everyone()
    return index


def plan_shards(utterances: Sequence[Utterance], shard_hours: float) -> list[list[int]]:
    """Places of the utterances of each shard: in order, each shard at most ``shard_hours``, or one utterance.

    Raises:
        CodecError: nothing to encode, or one id twice.
    """
    if not utterances:
        raise CodecError("no utterances to encode; give a manifest that has some")
    seen: set[str] = set()
    shards: list[list[int]] = []
    hours = 0.0
    for place, utterance in enumerate(utterances):
        if utterance.id in seen:
            raise CodecError(f"id {utterance.id!r} occurs in two manifests; give them datasets of their own")
        seen.add(utterance.id)
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
    digest = hashlib.sha256()
    for item in utterances:
        facts = (item.id, item.num_samples, item.sample_rate, item.text, item.speaker, item.split)
        digest.update(json.dumps(facts).encode())
    return {
        "model": model.fingerprint,
        "format": options.format,
        "shard_hours": options.shard_hours,
        "manifests": f"{len(utterances)} utterances {digest.hexdigest()[:16]}",
    }


def _open(folder: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Make the folder, or check that it holds the same dataset; clear away what a killed run left half-written."""
    place = folder / PROGRESS / SETTINGS
    if overwrite and place.is_file():
        for path in folder.glob("tokens-*"):
            path.unlink()
        shutil.rmtree(folder / PROGRESS)
        (folder / INDEX_FILE).unlink(missing_ok=True)
    if place.is_file():
        before = json.loads(place.read_text(encoding="utf-8"))
        for key, value in settings.items():
            if before.get(key) != value:
                raise CodecError(
                    f"{folder}: holds tokens of {key}={before.get(key)!r}, not {value!r}; "
                    "give another folder, or --overwrite"
                )
    elif folder.is_dir() and any(folder.glob("tokens-*")):
        raise CodecError(f"{folder}: holds shards that this program did not make; give another folder")
    else:
        write_text(place, json.dumps(settings, indent=1) + "\n")
    for left in (*folder.glob(".*.part*"), *(folder / PROGRESS).glob(".*.part*")):
        left.unlink()


def _write_record(
    record: Path, path: Path, entries: Sequence[TokenEntry], failed: list[dict[str, str]], codebook_size: int
) -> None:
    """Say that a shard is done, after it is; with what the index and the card need."""
    usage = CodeUsage(codebook_size)
    for entry in entries:
        usage.update(entry.tokens)
    codes, times = usage.occurring()
    shard = Shard(
        path.name,
        len(entries),
        sum(entry.num_tokens for entry in entries),
        sum(entry.num_samples for entry in entries),
        path.stat().st_size,
    )
    counts = {"codes": codes.tolist(), "counts": times.tolist()}
    write_text(record, json.dumps({"shard": asdict(shard), "failed": failed, **counts}, ensure_ascii=False) + "\n")


def _is_done(folder: Path, record: Path) -> bool:
    """Whether a shard is there as it was written, without failures, which another try may mend."""
    try:
        entry = json.loads(record.read_text(encoding="utf-8"))
        shard = Shard(**entry["shard"])
        return not entry["failed"] and (folder / shard.file).stat().st_size == shard.num_bytes
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or a damaged one: make the shard again
        return False


def _collect(format_name: str, model: Model, records: Sequence[Path]) -> Index:
    usage = CodeUsage(model.codebook_size)
    shards, failed = [], []
    for record in records:
        entry = json.loads(record.read_text(encoding="utf-8"))
        shards.append(Shard(**entry["shard"]))
        failed += entry["failed"]
        usage.update(torch.tensor(entry["codes"], dtype=torch.int64), torch.tensor(entry["counts"]))
    facts = usage.summary()
    return Index(format_name, model, tuple(shards), facts["codes_used"], facts["entropy_bits"], tuple(failed))
