"""What recordings came from, and under which licences: tables of sources, a line a recording."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codec.errors import CodecError
from codec.manifest import Utterance

COLUMNS = ("path", "source", "licence", "language", "speaker", "repository")


@dataclass
class Source:
    """All recordings of one origin and licence."""

    name: str
    licence: str
    recordings: int = 0
    seconds: float = 0.0
    languages: set[str] = field(default_factory=set)
    speakers: set[str] = field(default_factory=set)
    repositories: set[str] = field(default_factory=set)


def sources_of(utterances: Iterable[Utterance], tables: Sequence[Path]) -> list[Source]:
    """Where recordings come from, the most minutes first.

    Args:
        utterances: of a manifest.
        tables: CSV files with (at least) the columns of ``COLUMNS``; ``path`` is relative to the table's folder.

    Raises:
        CodecError: a table that cannot be read or lacks a column, or a recording that is in none of them.
    """
    rows = {path: row for table in tables for path, row in _rows(table)}
    found: dict[tuple[str, str], Source] = {}
    missing = []
    for utterance in utterances:
        row = rows.get(utterance.path.resolve())
        if row is None:
            missing.append(utterance.path)
            continue
        source = found.setdefault((row["source"], row["licence"]), Source(row["source"], row["licence"]))
        source.recordings += 1
        source.seconds += utterance.duration_s
        source.languages.add(row["language"])
        source.speakers.add(row["speaker"])
        source.repositories.add(row["repository"])
    if missing:
        raise CodecError(
            f"{missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}: in none of the tables of "
            f"sources ({', '.join(map(str, tables))}); nobody could say under which licence it is: add its line"
        )
    return sorted(found.values(), key=lambda source: -source.seconds)


def sources_table(sources: Sequence[Source]) -> str:
    """A table in Markdown."""
    lines = [
        "| source | licence | from | languages | speakers | recordings | minutes |",
        "|---|---|---|---|--:|--:|--:|",
    ]
    for source in sources:
        cells = (
            source.name,
            source.licence,
            ", ".join(sorted(source.repositories)),
            ", ".join(sorted(source.languages)),
            f"{len(source.speakers):,}",
            f"{source.recordings:,}",
            f"{source.seconds / 60:.1f}",
        )
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _rows(table: Path) -> Iterable[tuple[Path, dict[str, str]]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise CodecError(f"{table}: has no column {lacking[0]}; a table of sources has {', '.join(COLUMNS)}")
            return [((table.parent / row["path"]).resolve(), row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CodecError(f"{table}: cannot read the table of sources ({error}); give a CSV file") from None
