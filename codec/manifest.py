"""Manifests: JSON lines, one utterance a line.

Keys: ``id``, ``path`` (relative to the manifest's folder, or absolute), ``num_samples``, ``sample_rate``, ``speaker``,
``split``, and ``text`` where it is known.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.files import replacing

# type() and not isinstance(): true and false are integers to Python.
_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("id", "path"), lambda value: isinstance(value, str), "a string"),
    (("num_samples", "sample_rate"), lambda value: type(value) is int and value > 0, "a positive integer"),
    (("text",), lambda value: value is None or isinstance(value, str), "a string"),
)


@dataclass(frozen=True)
class Utterance:
    """One recording of a corpus; ``path`` is ready to open."""

    id: str
    path: Path
    num_samples: int
    sample_rate: int  # Hz
    speaker: str = ""
    split: str = ""
    text: str | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read every line of a manifest.

    Raises:
        CodecError: unreadable file, or a line that lacks a key or has a wrong type (named by number); no utterances;
            an id that occurs twice.
    """
    return list(walk_manifest(path))


def walk_manifest(path: str | Path) -> Iterator[Utterance]:
    """:func:`read_manifest` line by line, for manifests of which little is to be kept."""
    path = Path(path)
    seen: set[str] = set()
    try:
        # Lines end at \n alone: a transcript may hold U+2028 and its like, which JSON does not escape.
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                utterance = parse_line(line, path, number)
                if utterance.id in seen:
                    raise CodecError(
                        f"{path}:{number}: id {utterance.id!r} occurs twice, expected unique ids; remove one line"
                    )
                seen.add(utterance.id)
                yield utterance
    except IsADirectoryError:
        raise _is_folder(path) from None
    except OSError as error:
        raise CodecError(
            f"{path}: cannot read the manifest ({error.strerror}); make it with recipes/prepare_folder.py, or of "
            "LibriTTS with recipes/prepare_libritts.py"
        ) from None
    except UnicodeDecodeError:
        raise CodecError(
            f"{path}: not a manifest (JSON lines in UTF-8); recipes/prepare_folder.py makes one of recordings"
        ) from None
    if not seen:
        raise CodecError(f"{path}: the manifest has no utterances; prepare the corpus again")


def _is_folder(path: Path) -> CodecError:
    """The error for a folder in the place of a manifest: of manifests, or of recordings that have none yet."""
    manifests = sorted(str(file) for file in path.glob("*.jsonl"))
    if manifests:
        named = ", ".join(manifests[:4] + ["..."] * (len(manifests) > 4))
        return CodecError(f"{path}: is a folder, expected a manifest; give one in it: {named}")
    return CodecError(
        f"{path}: is a folder, expected a manifest; make one with recipes/prepare_folder.py {path} -o DIR and give "
        "DIR/train.jsonl"
    )


def parse_line(line: str, path: Path, number: int) -> Utterance:
    """An utterance of line ``number`` (from 1) of the manifest at ``path``.

    Raises:
        CodecError: what :func:`read_manifest` raises of a line.
    """
    where = f"{path}:{number}"
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise CodecError(f"{where}: not a JSON object ({error.msg})") from None
    if not isinstance(entry, dict):
        raise CodecError(f"{where}: expected a JSON object, got {type(entry).__name__}")
    for keys, fits, expected in _CHECKS:
        for key in keys:
            if not fits(entry.get(key)):
                raise CodecError(f"{where}: {key}={entry.get(key)!r}, expected {expected}; prepare the corpus again")
    return Utterance(
        id=entry["id"],
        path=path.parent / entry["path"],  # an absolute path stays as it is
        num_samples=entry["num_samples"],
        sample_rate=entry["sample_rate"],
        speaker=str(entry.get("speaker", "")),
        split=str(entry.get("split", "")),
        text=entry.get("text"),
    )


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest at once or not at all; paths are written relative to its folder."""
    path = Path(path)
    # Only the folders are resolved: ".." after a symbolic link leads from the link's target, while a recording that is
    # itself a link (as in datalad and git-annex) keeps its name.
    resolve = functools.cache(Path.resolve)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        folder = path.parent.resolve()
        for utterance in utterances:
            entry = {
                "id": utterance.id,
                "path": os.path.relpath(resolve(utterance.path.parent) / utterance.path.name, folder),
                "num_samples": utterance.num_samples,
                "sample_rate": utterance.sample_rate,
                "speaker": utterance.speaker,
                "split": utterance.split,
            }
            if utterance.text is not None:
                entry["text"] = utterance.text
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
