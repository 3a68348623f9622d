"""Which shards there are, how many recordings each has, and where these lie."""

from __future__ import annotations

import glob
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from codec.audio import AUDIO_SUFFIXES
from codec.errors import CodecError, how_to_install
from codec.tarshards.member import Member, OpenTars

INDEX_FILE = "index.json"
SIDE_SUFFIX = ".jsonl"  # of the file beside a shard, one line a recording
_AGAIN = "get the shard again, or make it again with recipes/shard.py"

Rates = tuple[tuple[int, int], ...]  # Hz, and how many recordings have it; the lowest first


class AudioShard(NamedTuple):
    """One tar file of speech."""

    path: Path
    utterances: int
    num_bytes: int  # as it was written
    sample_rates: Rates = ()  # nothing where the index is of an older version


@dataclass(frozen=True)
class ShardTable:
    """Where the recordings of one shard lie; 20 bytes each."""

    path: Path
    offsets: np.ndarray  # (N,) int64, bytes
    sizes: np.ndarray  # (N,) int32, bytes
    num_samples: np.ndarray  # (N,) int32
    sample_rates: np.ndarray  # (N,) int32, Hz

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> Member:
        values = (self.offsets, self.sizes, self.num_samples, self.sample_rates)
        return Member(self.path, *(int(column[row]) for column in values))


def is_remote(pattern: str) -> bool:
    """Whether webdataset would fetch a shard: ``s3://...``, ``https://...``, ``pipe:...``."""
    return "://" in pattern or pattern.startswith("pipe:")


def expand(pattern: str) -> list[str]:
    """``train-{000000..000127}.tar`` -> 128 names; anything without braces stays as it is.

    Raises:
        CodecError: braces that do not fit together, or the package for them is missing.
    """
    if "{" not in pattern:
        return [pattern]
    try:
        from braceexpand import braceexpand
    except ImportError:
        raise CodecError(
            f"{pattern}: braces need the package braceexpand; {how_to_install('braceexpand', 'data')}, or give the "
            "folder"
        ) from None
    try:
        return list(braceexpand(pattern))
    except ValueError:  # what its UnbalancedBracesError is
        raise CodecError(f"{pattern}: the braces do not fit together; write shards-{{000000..000127}}.tar") from None


def find_shards(patterns: Sequence[str]) -> list[AudioShard]:
    """All shards of local patterns: a folder, a name, a name with braces or wildcards; each once, in order.

    Raises:
        CodecError: a pattern without a file, a shard that is missing, is not as long as its index says, or has nothing.
    """
    paths: dict[Path, None] = {}
    for pattern in patterns:
        if Path(pattern).is_dir():
            listed = _listed(Path(pattern))
            found = sorted({*listed} | {path.name for path in Path(pattern).glob("*.tar")})
            paths.update(dict.fromkeys(Path(pattern) / name for name in found))
            if not found:
                raise CodecError(f"{pattern}: no tar shards in this folder; recipes/shard.py makes some")
            continue
        for name in expand(pattern):
            names = sorted(glob.glob(name)) if any(sign in name for sign in "*?[") else [name]  # noqa: PTH207 - any folder
            if not names:
                raise CodecError(f"{name}: no shard has such a name; recipes/shard.py makes some")
            paths.update(dict.fromkeys(map(Path, names)))
    indices = {folder: _listed(folder) for folder in {path.parent for path in paths}}
    shards = [_shard(path, indices[path.parent].get(path.name)) for path in paths]
    if not sum(shard.utterances for shard in shards):
        raise CodecError(f"{patterns[0]}: the shards have no recordings; make them again with recipes/shard.py")
    return shards


def _shard(path: Path, listed: AudioShard | None) -> AudioShard:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CodecError(f"{path}: the shard cannot be read ({error.strerror}); {_AGAIN}") from None
    if listed is None:
        table = read_table(path)
        rates, counts = np.unique(table.sample_rates, return_counts=True)
        return AudioShard(path, len(table), size, tuple(zip(rates.tolist(), counts.tolist(), strict=True)))
    if listed.num_bytes != size:
        raise CodecError(f"{path}: {size} bytes, {INDEX_FILE} promises {listed.num_bytes}; {_AGAIN}")
    return listed


def _listed(folder: Path) -> dict[str, AudioShard]:
    """What a folder's index says of its shards, by file name; nothing without an index."""
    path = folder / INDEX_FILE
    try:
        return {
            entry["file"]: AudioShard(folder / entry["file"], entry["utterances"], entry["num_bytes"], rates_of(entry))
            for entry in json.loads(path.read_text(encoding="utf-8"))["shards"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CodecError(f"{path}: not the index of shards; make it again with recipes/shard.py") from None


def rates_of(entry: dict[str, Any]) -> Rates:
    """The sample rates in a shard's entry of an index."""
    return tuple(sorted((int(rate), int(count)) for rate, count in entry.get("sample_rates", {}).items()))


def read_table(path: Path) -> ShardTable:
    """Where the recordings of a shard lie: from the file beside it, else from the tar file's own headers.

    Raises:
        CodecError: a shard that is missing or damaged, or whose size is not what the file beside it says.
    """
    side = path.with_suffix(SIDE_SUFFIX)
    try:
        size = path.stat().st_size
        if side.is_file():
            lines = side.read_text(encoding="utf-8").split("\n")
            rows = [_row(json.loads(line)) for line in lines if line]
        else:
            rows = list(_scanned(path))
    except OSError as error:
        raise CodecError(f"{path}: the shard cannot be read ({error.strerror}); {_AGAIN}") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"{side}: not the index of a shard; {_AGAIN}") from None
    if rows and max(offset + length for offset, length, _, _ in rows) > size:
        raise CodecError(f"{path}: ends after {size} bytes, within its recordings; {_AGAIN}")
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return ShardTable(path, columns[0], *(column.astype(np.int32) for column in columns[1:]))


def _row(entry: dict[str, Any]) -> tuple[int, int, int, int]:
    return entry["offset"], entry["size"], entry["num_samples"], entry["sample_rate"]


def _scanned(path: Path) -> Iterator[tuple[int, int, int, int]]:
    """The rows of a shard that others made: every member with an audio suffix, its length from its own header."""
    tars = OpenTars()
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if not member.isfile() or not member.name.lower().endswith(AUDIO_SUFFIXES):
                    continue
                place = Member(path, member.offset_data, member.size, 0, 0)
                yield place.offset, place.size, *tars.info(place)
    except tarfile.TarError as error:
        raise CodecError(f"{path}: not a whole tar file ({error}); {_AGAIN}") from None
    finally:
        tars.close()
