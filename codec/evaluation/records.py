"""Scores of single utterances, on disk as they come.

A result folder holds ``settings.json`` (what the scores are of), ``utterances.jsonl`` (one record a line, sorted by id)
and, while processes are at work, ``parts/``: each appends whole lines to a file of its own. Whatever ends a run, the
next one collects the parts first and goes on from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from codec.errors import CodecError
from codec.files import read_json, remove_files, replacing, write_text

SETTINGS_FILE = "settings.json"
RECORDS_FILE = "utterances.jsonl"
PARTS_FOLDER = "parts"
AUDIO_FOLDER = "audio"
# What settings.json says beside the settings. It grows as metrics join, and is no reason to refuse a folder.
SCORED_WITH = "scored_with"  # value -> digests of the weights and texts that its scores rest on
DEFINITIONS = "definitions"  # value -> how it is shown, so that a later run without its metric still can
VERSIONS = "versions"  # library -> all versions that scored something here
NOTES = (SCORED_WITH, DEFINITIONS, VERSIONS)


@dataclass
class Record:
    """All that is known of one utterance."""

    id: str
    speaker: str
    duration_s: float
    scores: dict[str, float] = field(default_factory=dict)  # value -> number
    failures: dict[str, str] = field(default_factory=dict)  # value -> reason
    error: str | None = None  # why there is no reconstruction, or none for what a later run was to add
    tokens: list[int] | None = None
    file_bytes: int | None = None  # of the coded file
    recording: str | None = None  # fingerprint of what was reconstructed
    sound: bool | None = None  # whether audio/ID.wav is the reconstruction; None: from before this was noted

    def merged(self, later: Record) -> Record:
        """This record with what a later run adds. Its scores take the place of an error; an error drops no scores."""
        if later.error is not None and (self.scores or self.failures):
            return replace(self, error=later.error)
        return Record(
            id=self.id,
            speaker=later.speaker,
            duration_s=later.duration_s,
            scores={**self.scores, **later.scores},
            failures={**self.failures, **later.failures},
            error=later.error,
            tokens=later.tokens if later.tokens is not None else self.tokens,
            file_bytes=later.file_bytes if later.file_bytes is not None else self.file_bytes,
            recording=later.recording or self.recording,
            sound=later.sound or self.sound,
        )


class Store:
    """The result folder of one system on one test set."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._records_path = self.folder / RECORDS_FILE
        self._parts = self.folder / PARTS_FOLDER

    def open(
        self,
        settings: dict[str, Any],
        overwrite: bool = False,
        *,
        scored_with: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Make the folder ready, collecting what an earlier run left. For one process, before the others begin.

        Args:
            settings: whatever changes scores; saved, and compared with what the folder holds scores of.
            overwrite: drop what is there.
            scored_with: value -> what its scores will rest on beside the settings (weights of a network, texts), by
                name; saved, and compared with what the folder's scores of that value rest on.

        Raises:
            CodecError: the folder holds scores made with other settings, weights or texts, a damaged file, or cannot
                be written to.
        """
        if overwrite:
            self._clear()
        known = self._read_settings()
        if known is not None:
            known = {key: value for key, value in known.items() if key not in NOTES}
        if known is None:
            if self._records_path.exists():
                raise CodecError(f"{self.folder}: has {RECORDS_FILE} but no {SETTINGS_FILE}; choose another folder")
            write_text(self.folder / SETTINGS_FILE, json.dumps(settings, indent=2) + "\n")
        elif known != settings:
            changed = ", ".join(
                f"{key} was {known.get(key)!r} and is {settings.get(key)!r}"
                for key in sorted(known.keys() | settings.keys())
                if known.get(key) != settings.get(key)
            )
            raise CodecError(f"{self.folder}: holds other scores ({changed}); choose another folder or --overwrite")
        self.collect()
        if scored_with:
            self._check_scored_with(self.notes(SCORED_WITH), scored_with)
            self.note(SCORED_WITH, scored_with)

    def notes(self, key: str) -> dict[str, Any]:
        """What ``settings.json`` says beside the settings, by one of ``NOTES``; empty where it says nothing."""
        notes: dict[str, Any] = (self._read_settings() or {}).get(key, {})
        return notes

    def note(self, key: str, facts: Mapping[str, Any]) -> None:
        """Add to :meth:`notes`. For one process, and an open folder."""
        settings = self._read_settings()
        assert settings is not None, "open() comes first"
        both = {**settings.get(key, {}), **facts}
        if both != settings.get(key, {}):
            write_text(self.folder / SETTINGS_FILE, json.dumps({**settings, key: both}, indent=2) + "\n")

    def note_versions(self, versions: Mapping[str, str]) -> None:
        """Add what scores now to what has scored: the versions of a library, in the order in which they came."""
        noted = self.notes(VERSIONS)
        both = {
            library: list(dict.fromkeys([*noted.get(library, []), version])) for library, version in versions.items()
        }
        self.note(VERSIONS, both)

    def _check_scored_with(
        self, noted: Mapping[str, Mapping[str, str]], wanted: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Refuse to go on with a value whose scores rest on something else."""
        records = self.records().values()
        held = {value for record in records for value in (*record.scores, *record.failures)}
        changed = [
            f"{value}: {what} were {_short(noted.get(value, {}).get(what))} and are {_short(digest)}"
            for value, facts in wanted.items()
            if value in held  # noted when a run began that scored nothing: not bound to it
            for what, digest in facts.items()
            if noted.get(value, {}).get(what) != digest
        ]
        if changed:
            raise CodecError(
                f"{self.folder}: holds scores made with others ({'; '.join(changed)}); choose another folder, or "
                "--overwrite to score all anew"
            )

    def collect(self) -> None:
        """Merge the parts into ``utterances.jsonl``. For one process, while none is writing."""
        parts = sorted(self._parts.glob("*.jsonl"))
        if not parts:
            return
        records = self.records()
        for part in parts:
            _read_into(records, part, tail_may_be_torn=True)
        with replacing(self._records_path) as temporary:
            temporary.write_text("".join(_line(records[id_]) for id_ in sorted(records)), encoding="utf-8")
        # Killed between the two, the next run merges the same parts again, which changes nothing.
        shutil.rmtree(self._parts)

    def records(self) -> dict[str, Record]:
        """Collected records by id, sorted.

        Raises:
            CodecError: a damaged line.
        """
        records: dict[str, Record] = {}
        if self._records_path.exists():
            _read_into(records, self._records_path)
        return records

    def part(self, process: int) -> Part:
        """The file that one process appends to; its records are safe as soon as they are added."""
        return Part(self._parts / f"{process:05d}.jsonl")

    def _read_settings(self) -> dict[str, Any] | None:
        path = self.folder / SETTINGS_FILE
        return read_json(path, "choose another folder or --overwrite") if path.exists() else None

    def _clear(self) -> None:
        """Remove what this class writes, and nothing else."""
        remove_files(self.folder / name for name in (SETTINGS_FILE, RECORDS_FILE))
        if self._parts.is_dir():
            shutil.rmtree(self._parts)


class Part:
    """An append-only file of records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8")  # an earlier run's parts are collected by now
        except OSError as error:
            raise CodecError(f"{self._path}: cannot write there ({error.strerror}); choose a writable folder") from None
        return self

    def add(self, record: Record) -> None:
        """Append one record and hand it to the operating system.

        Raises:
            CodecError: the disk refuses; what was added before is kept.
        """
        assert self._file is not None
        try:
            self._file.write(_line(record))
            self._file.flush()
        except OSError as error:
            raise CodecError(
                f"{self._path}: writing failed ({error.strerror}); what was scored is kept, make room and run again"
            ) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()


def is_complete(record: Record | None, values: Iterable[str]) -> bool:
    """Whether every value is scored or has failed. Where an error kept any from it, it is tried again."""
    if record is None or (record.error is not None and not (record.scores or record.failures)):
        return False
    return all(value in record.scores or value in record.failures for value in values)


def sound_of(folder: Path, record: Record) -> Path | None:
    """The reconstruction that was kept with a record. What else lies there may be another system's, of before."""
    path = folder / AUDIO_FOLDER / f"{record.id}.wav"
    return path if record.sound is not False and path.is_file() else None


def _short(digest: str | None) -> str:
    return "not noted" if digest is None else digest[:16]


def _line(record: Record) -> str:
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n"


def _read_into(records: dict[str, Record], path: Path, tail_may_be_torn: bool = False) -> None:
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); check the disk") from None
    # Lines end at \n alone: an id may hold U+0085 or U+2028, which JSON does not escape and splitlines() splits at.
    lines = text.split("\n")
    tail = lines.pop()
    if tail and not tail_may_be_torn:
        lines.append(tail)
    for number, line in enumerate(lines, 1):
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError):
            raise CodecError(f"{path}:{number}: not a record; score again with --overwrite") from None
        earlier = records.get(record.id)
        records[record.id] = earlier.merged(record) if earlier else record
