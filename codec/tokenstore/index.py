"""``index.json``: by which model a token dataset was made, and which shards it has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from codec import bundled
from codec.errors import CodecError
from codec.files import read_json, write_text

INDEX_FILE = "index.json"
VERSION = 2  # 2: with checksums of the shards


@dataclass(frozen=True)
class Model:
    """What is needed to read tokens, and to know whose they are."""

    name: str
    fingerprint: str  # of its tokens
    codebook_size: int
    sample_rate: int  # Hz
    hop_length: int  # samples a token

    def __post_init__(self) -> None:  # what an earlier version wrote is the same model
        object.__setattr__(self, "fingerprint", bundled.token_fingerprint(self.fingerprint))

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        return self.sample_rate / self.hop_length


@dataclass(frozen=True)
class Shard:
    """One file of a dataset; the npy format has a ``.jsonl`` beside it."""

    file: str
    utterances: int
    tokens: int
    samples: int  # at the codec's rate
    num_bytes: int
    sha256: Mapping[str, str] = field(default_factory=dict)  # by file; of neither in datasets of version 1


@dataclass(frozen=True)
class Index:
    """A whole dataset."""

    format: str
    model: Model
    shards: tuple[Shard, ...]
    codes_used: int
    entropy_bits: float  # of the distribution of all tokens, bits a token
    failed: tuple[dict[str, str], ...] = ()  # id and reason of what could not be encoded

    @property
    def utterances(self) -> int:
        """Recordings in all shards."""
        return sum(shard.utterances for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Tokens in all shards."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def hours(self) -> float:
        """Speech in all shards."""
        return sum(shard.samples for shard in self.shards) / self.model.sample_rate / 3600

    def write(self, folder: Path) -> None:
        """Write ``index.json`` at once or not at all."""
        entry = {
            "version": VERSION,
            "format": self.format,
            "model": {**asdict(self.model), "frame_rate": self.model.frame_rate},
            "utterances": self.utterances,
            "tokens": self.tokens,
            "hours": round(self.hours, 4),
            "codes_used": self.codes_used,
            "entropy_bits": round(self.entropy_bits, 4),
            "shards": [asdict(shard) for shard in self.shards],
            "failed": list(self.failed),
        }
        write_text(folder / INDEX_FILE, json.dumps(entry, indent=1, ensure_ascii=False) + "\n")


def read_index(folder: Path) -> Index:
    """Read a dataset's ``index.json``.

    Raises:
        CodecError: none there, of a later version, or not one.
    """
    path = folder / INDEX_FILE
    advice = "a token dataset has it beside its shards, recipes/tokenize.py writes it when all of them are done"
    entry = read_json(path, advice)
    try:
        if entry["version"] > VERSION:
            raise CodecError(f"{path}: version {entry['version']}, this program reads {VERSION}; update it")
        names = {known.name for known in fields(Model)}
        return Index(
            format=entry["format"],
            model=Model(**{name: value for name, value in entry["model"].items() if name in names}),
            shards=tuple(Shard(**shard) for shard in entry["shards"]),
            codes_used=entry["codes_used"],
            entropy_bits=entry["entropy_bits"],
            failed=tuple(entry["failed"]),
        )
    except (KeyError, TypeError, AttributeError):
        raise CodecError(f"{path}: not the index of a token dataset; give a folder of recipes/tokenize.py") from None


def is_token_dataset(path: Path) -> bool:
    """Whether ``path`` is a folder of tokens, or a shard in one."""
    folder = path if path.is_dir() else path.parent
    return (folder / INDEX_FILE).is_file() and (path.is_dir() or path.suffix in (".tar", ".parquet", ".npy", ".jsonl"))


def shard_names(index: Index, files: Sequence[Path] | None) -> list[str]:
    """Names of the shards that are asked for, in the dataset's order.

    Raises:
        CodecError: a file that the index does not know.
    """
    known = [shard.file for shard in index.shards]
    if files is None:
        return known
    wanted = {file.name for file in files}
    if unknown := wanted - set(known):
        raise CodecError(f"{min(unknown)}: no shard of the dataset, whose index names {', '.join(known[:3])}, ...")
    return [name for name in known if name in wanted]
