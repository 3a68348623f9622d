"""Folders that are filled shard by shard, by one run or by several, until they are whole.

Beside the shards, ``.progress/`` has what they depend on (``settings.json``) and a record of each that is finished. So
a killed run goes on behind what it has finished, and one of other settings is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.files import read_json, write_text
from codec.manifest import Utterance

PROGRESS = ".progress"
SETTINGS = "settings.json"

Progress = Callable[[float], None]  # is told the seconds of speech that are done now
Made = Callable[[Mapping[str, Any]], Sequence[str]]  # settings -> names, with wildcards, of what a run of them writes


class ShardFolder:
    """A folder of shards with the records of those that are finished."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self._records = self.path / PROGRESS

    def open(self, settings: Mapping[str, Any], made: Made, shards: str, *, overwrite: bool = False) -> None:
        """Make the folder, or check that its shards are of the same settings; clear away what a kill left half-written.

        Args:
            settings: whatever a shard depends on, ready for JSON.
            made: what ``overwrite`` drops.
            shards: wildcard of any shard, by which those of others are seen.
            overwrite: drop what a run of any settings has left here.

        Raises:
            CodecError: shards of other settings or of another program, damaged settings, or a place that cannot be
                written.
        """
        place = self._records / SETTINGS
        if overwrite and place.is_file():
            for pattern in made(self._settings()):
                for path in self.path.glob(pattern):
                    path.unlink()
            shutil.rmtree(self._records)
        if place.is_file():
            before = self._settings()
            for key, value in settings.items():
                if before.get(key) != value:
                    raise CodecError(
                        f"{self.path}: holds shards of {key}={before.get(key)!r}, not {value!r}; "
                        "give another folder, or --overwrite"
                    )
        elif self.path.is_dir() and any(self.path.glob(shards)):
            raise CodecError(f"{self.path}: holds shards that this program did not make; give another folder")
        else:
            write_text(place, json.dumps(settings, indent=1) + "\n")
        for left in (*self.path.glob(".*.part*"), *self._records.glob(".*.part*")):
            left.unlink()

    def _settings(self) -> dict[str, Any]:
        return read_json(self._records / SETTINGS, "give another folder")

    def record(self, file: str) -> dict[str, Any] | None:
        """What was written of a shard when it was finished; None where it is not, or that cannot be read."""
        try:
            return read_json(self._place(file), "")
        except CodecError:  # the shard is made again
            return None

    def write_record(self, file: str, entry: Mapping[str, Any]) -> None:
        """Say that a shard is finished, after it is."""
        write_text(self._place(file), json.dumps(entry, ensure_ascii=False) + "\n")

    def keep_records(self, files: AbstractSet[str]) -> None:
        """Forget all other shards: they are to be made again."""
        kept = {SETTINGS, *(self._place(file).name for file in files)}
        for path in self._records.glob("*.json"):
            if path.name not in kept:
                path.unlink()

    def has(self, file: str, num_bytes: int) -> bool:
        """Whether a shard is there as long as it was written."""
        try:
            return (self.path / file).stat().st_size == num_bytes
        except OSError:
            return False

    def _place(self, file: str) -> Path:
        return self._records / f"{file}.json"


def check_utterances(utterances: Sequence[Utterance]) -> None:
    """Refuse what cannot be one folder of shards.

    Raises:
        CodecError: no utterances, or one id twice.
    """
    if not utterances:
        raise CodecError("no utterances to store; give a manifest that has some")
    seen: set[str] = set()
    for item in utterances:
        if item.id in seen:
            raise CodecError(f"id {item.id!r} occurs in two manifests; give them folders of their own")
        seen.add(item.id)


def identity(utterances: Sequence[Utterance]) -> str:
    """Number and digest of utterances, wherever their files lie: equal for those that make the same shards."""
    digest = hashlib.sha256()
    for item in utterances:
        facts = (item.id, item.num_samples, item.sample_rate, item.text, item.speaker, item.split)
        digest.update(json.dumps(facts).encode())
    return f"{len(utterances)} utterances {digest.hexdigest()[:16]}"
