"""Making shards: recordings as FLAC or Opus, one after the other into tar files of a bounded size.

A shard is whole or not there. A record of each finished one says which utterances it took, so that a killed run, or one
that met a full disk, goes on behind the last of them. What could not be read is tried again by the next run, and stored
in shards of its own at the end.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from codec.errors import CodecError
from codec.files import replacing, write_text
from codec.manifest import Utterance
from codec.naming import member_key
from codec.resumable import Progress, ShardFolder, check_utterances, identity
from codec.tarshards.encoding import CODINGS, Encoded, encode_ahead
from codec.tarshards.index import INDEX_FILE, SIDE_SUFFIX

VERSION = 1
_AHEAD = 4  # recordings in work for each thread


@dataclass(frozen=True)
class Options:
    """How shards are made."""

    format: str = "flac"
    shard_mb: float = 500.0
    prefix: str = "train"
    seed: int | None = 0  # of the order; None: as in the manifests
    threads: int = 2


@dataclass(frozen=True)
class Finished:
    """The record of a shard."""

    file: str
    utterances: int
    hours: float
    num_bytes: int
    stop: int  # place, in the order of writing, of the first utterance behind it
    failed: list[dict[str, str]]  # id and reason of what could not be read
    mended: list[str] = field(default_factory=list)  # ids in it that failed when it was their turn
    sample_rates: dict[str, int] = field(default_factory=dict)  # recordings of each, Hz; none: an older record


def write_shards(
    utterances: Sequence[Utterance],
    folder: str | Path,
    options: Options,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Finished]:
    """Write ``PREFIX-000000.tar`` and so on, a ``.jsonl`` beside each, and ``index.json``.

    Audio is mixed down to one channel and stored with 16 bits at its own rate (Opus: at the next rate that it knows); a
    FLAC file of one channel is copied as it is.

    Args:
        utterances: of all manifests.
        folder: of the shards; what an earlier run of the same settings finished is kept, and what that could not read
            is tried again.
        options: see :class:`Options`.
        overwrite: drop what ``folder`` holds.
        progress: called after every recording.

    Raises:
        CodecError: no utterances, one id twice, a folder with other shards, an unknown format, or a place that cannot
            be written (what is finished stays). A recording that cannot be read is no error, but is in ``failed`` of
            the shard where it should be.
    """
    store, folder = ShardFolder(folder), Path(folder)
    if options.format not in CODINGS:
        raise CodecError(f"format {options.format!r} is not known; formats are {', '.join(CODINGS)}")
    check_utterances(utterances)
    store.open(_settings(utterances, options), _made, "*.tar", overwrite=overwrite)
    finished = _finished(store, options)
    places = np.arange(len(utterances))
    if options.seed is not None:
        places = np.random.default_rng(options.seed).permutation(len(utterances))
    start = finished[-1].stop if finished else 0
    again = {failure["id"] for shard in finished for failure in shard.failed}

    def keep(done: Finished) -> None:
        store.write_record(done.file, asdict(done))
        finished.append(done)

    def next_path() -> Path:
        return folder / f"{options.prefix}-{len(finished):06d}.tar"

    with ThreadPoolExecutor(options.threads) as pool:
        behind = [utterances[place] for place in places[start:]]
        coming = encode_ahead(behind, options.format, pool, _AHEAD * options.threads)
        while start < len(utterances):
            done = _write_shard(next_path(), coming, start, options, progress)
            keep(done)
            start = done.stop
        reasons: dict[str, str] = {}
        readable = _readable([item for item in utterances if item.id in again], options, pool, reasons)
        for first in readable:  # none: no shard
            done = _write_shard(next_path(), chain([first], readable), start, options, progress)
            keep(replace(done, stop=start, mended=[facts["id"] for facts in _facts(folder / done.file)]))
    finished = [_still_failed(shard, again - reasons.keys(), reasons) for shard in finished]
    _write_index(folder, finished, options)
    return finished


def _write_shard(
    path: Path,
    coming: Iterator[tuple[Utterance, Encoded]],
    start: int,
    options: Options,
    progress: Progress | None,
) -> Finished:
    lines: list[str] = []
    failed: list[dict[str, str]] = []
    rates: Counter[int] = Counter()
    hours, stop = 0.0, start
    with replacing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
            for item, outcome in coming:
                stop += 1
                if isinstance(outcome, CodecError):
                    failed.append({"id": item.id, "reason": str(outcome)})
                else:
                    content, stored = outcome
                    lines.append(_add(archive, stored, content, options.format))
                    rates[stored.sample_rate] += 1
                    hours += stored.duration_s / 3600
                if progress:
                    progress(item.duration_s)
                if archive.offset >= options.shard_mb * 1e6:
                    break
        num_bytes = temporary.stat().st_size
        # First what lies beside it: a shard that is there is complete.
        write_text(path.with_suffix(SIDE_SUFFIX), "".join(lines))
    return Finished(path.name, len(lines), hours, num_bytes, stop, failed, sample_rates=_by_rate(rates))


def _readable(
    items: Sequence[Utterance], options: Options, pool: ThreadPoolExecutor, reasons: dict[str, str]
) -> Iterator[tuple[Utterance, Encoded]]:
    """Those that can be read by now; of the others the reasons, by id."""
    for item, outcome in encode_ahead(items, options.format, pool, _AHEAD * options.threads):
        if isinstance(outcome, CodecError):
            reasons[item.id] = str(outcome)
        else:
            yield item, outcome


def _add(archive: tarfile.TarFile, item: Utterance, content: bytes, suffix: str) -> str:
    """Append a recording; returns its line for the file beside the shard."""
    facts: dict[str, Any] = {
        "id": item.id,
        "num_samples": item.num_samples,
        "sample_rate": item.sample_rate,
        "speaker": item.speaker,
        "split": item.split,
    }
    if item.text is not None:
        facts["text"] = item.text
    key = member_key(item.id)
    offset = 0
    for name, data in ((f"{key}.json", json.dumps(facts, ensure_ascii=False).encode()), (f"{key}.{suffix}", content)):
        member = tarfile.TarInfo(name)  # without time and owner: the same recordings are the same bytes
        member.size, member.mode = len(data), 0o644
        archive.addfile(member, io.BytesIO(data))
        offset = archive.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return json.dumps({**facts, "offset": offset, "size": len(content)}, ensure_ascii=False) + "\n"


# -- what a folder holds ----------------------------------------------------------------------------------------------


def _settings(utterances: Sequence[Utterance], options: Options) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(options).items() if name != "threads"}
    return {**kept, "manifests": identity(utterances)}


def _made(settings: Mapping[str, Any]) -> Sequence[str]:
    return f"{settings['prefix']}-*.tar", f"{settings['prefix']}-*{SIDE_SUFFIX}", INDEX_FILE


def _finished(store: ShardFolder, options: Options) -> list[Finished]:
    """Records of the shards that are there, up to the first that is not; later ones are taken away.

    Without what has been mended since, which is in a shard behind them.
    """
    found: list[Finished] = []
    while (record := store.record(f"{options.prefix}-{len(found):06d}.tar")) is not None:
        try:
            done = Finished(**record)
        except TypeError:  # a damaged one: make the shard again
            break
        if not store.has(done.file, done.num_bytes):
            break
        found.append(done)
    # The shards from here on are written anew, and may end elsewhere than those before.
    store.keep_records({shard.file for shard in found})
    mended = {id_ for shard in found for id_ in shard.mended}
    return [_still_failed(shard, mended, {}) for shard in found]


def _still_failed(shard: Finished, mended: AbstractSet[str], reasons: Mapping[str, str]) -> Finished:
    """The record without failures that are ``mended``; of the others the newest of the reasons."""
    failed = [
        {"id": failure["id"], "reason": reasons.get(failure["id"], failure["reason"])}
        for failure in shard.failed
        if failure["id"] not in mended
    ]
    return replace(shard, failed=failed)


def _by_rate(rates: Counter[int]) -> dict[str, int]:
    """As JSON has it, the lowest rate first."""
    return {str(rate): count for rate, count in sorted(rates.items())}


def _facts(path: Path) -> list[dict[str, Any]]:
    """Of the recordings in a shard."""
    lines = path.with_suffix(SIDE_SUFFIX).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def _entry(folder: Path, shard: Finished) -> dict[str, Any]:
    """A shard's place in the index."""
    entry = {name: getattr(shard, name) for name in ("file", "utterances", "hours", "num_bytes", "sample_rates")}
    if not shard.sample_rates:
        entry["sample_rates"] = _by_rate(Counter(facts["sample_rate"] for facts in _facts(folder / shard.file)))
    return entry


def _write_index(folder: Path, finished: Sequence[Finished], options: Options) -> None:
    names = {shard.file for shard in finished}
    for path in folder.glob(f"{options.prefix}-*.tar"):
        if path.name not in names:  # of a run that needed more shards, because a recording has been mended since
            path.unlink()
            path.with_suffix(SIDE_SUFFIX).unlink(missing_ok=True)
    entry = {
        "version": VERSION,
        "format": options.format,
        "utterances": sum(shard.utterances for shard in finished),
        "hours": round(sum(shard.hours for shard in finished), 4),
        "num_bytes": sum(shard.num_bytes for shard in finished),
        "shards": [_entry(folder, shard) for shard in finished],
        "failed": [failure for shard in finished for failure in shard.failed],
    }
    write_text(folder / INDEX_FILE, json.dumps(entry, indent=1, ensure_ascii=False) + "\n")
