"""A folder of any recordings: every audio file below it, however it is laid out.

An id is the file's path without suffix, folders joined by ``__`` (ids name files elsewhere). A transcript is looked for
beside the recording: ``NAME.normalized.txt``, else ``NAME.txt``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from codec.corpora.preparation import Progress, Recording, SplitSummary, drop_split, prepare_split
from codec.errors import CodecError
from codec.folders import recordings_below

logger = logging.getLogger(__name__)

TEXT_SUFFIXES = (".normalized.txt", ".txt")


def prepare(
    folder: str | Path,
    output_dir: str | Path,
    *,
    speaker_level: int = 1,
    held_out: float = 0.0,
    jobs: int = 4,
    force: bool = False,
    progress: Progress | None = None,
) -> Iterator[SplitSummary]:
    """Write ``train.jsonl`` and, with ``held_out``, ``dev.jsonl``; yield what they hold.

    Without ``held_out`` a ``dev.jsonl`` that an earlier call made of these recordings is removed, with a warning: they
    are all trained on now.

    Args:
        folder: searched with all its folders; hidden ones are passed over.
        output_dir: where the manifests go.
        speaker_level: which folder on the way to a file names its speaker, 1 being the first below ``folder``;
            0: speakers are not known. Files that lie higher have no speaker either.
        held_out: share of the speakers (of the files, where speakers are not known) that go to ``dev``. Which ones
            follows from their names alone, so that adding recordings moves nobody to the other side.
        jobs: threads that open files.
        force: write manifests again that are up to date.
        progress: called with (done, total) while the files of a split are opened.

    Raises:
        CodecError: no such folder, no recording below it, a split without one (what would work is said), or a share
            outside [0, 1).
    """
    if not 0 <= held_out < 1:
        raise CodecError(f"held_out={held_out}: expected a share of at least 0 and below 1, for example 0.02")
    recordings = list_recordings(Path(folder), speaker_level)
    splits = {"train": [r for r in recordings if not _is_held_out(r, held_out)]}
    if held_out:
        splits["dev"] = [r for r in recordings if _is_held_out(r, held_out)]
        _check_split(splits, recordings, held_out)
    elif drop_split("dev", recordings, output_dir):
        logger.warning(
            "%s: removed, its recordings are in train.jsonl now; --held-out makes it again",
            Path(output_dir, "dev.jsonl"),
        )
    for split, chosen in splits.items():
        yield prepare_split(split, chosen, output_dir, jobs=jobs, force=force, progress=progress)


def _check_split(splits: Mapping[str, Sequence[Recording]], recordings: Sequence[Recording], share: float) -> None:
    """Refuse to hold out what leaves a split empty, and say what would not."""
    empty = [split for split, chosen in splits.items() if not chosen]
    if not empty:
        return
    speakers = {recording.speaker or recording.id for recording in recordings}
    problem = f"{empty[0]}: a share of {share} held out leaves it without a recording"
    if len({recording.id for recording in recordings}) == 1:
        raise CodecError(f"{problem}, as there is only one; add recordings, or leave --held-out out")
    if len(speakers) == 1:
        # Of the files themselves this share may leave nothing either.
        alone = [replace(recording, speaker="") for recording in recordings]
        works = 0 < sum(_is_held_out(recording, share) for recording in alone) < len(alone)
        raise CodecError(
            f"{problem}, as all are of one speaker ({speakers.pop()}); give --speaker-level 0 to hold out recordings"
            + ("" if works else f" (with a share from {_working_shares(alone)})")
            + ", or the level of the folder that names the speakers"
        )
    raise CodecError(f"{problem}; choose a share from {_working_shares(recordings)}, or add recordings")


def _working_shares(recordings: Sequence[Recording]) -> str:
    """Least and greatest share that leaves neither split empty, rounded inwards, of recordings that can be parted."""
    places = [_place(recording) for recording in recordings]
    digits = 2
    while True:
        low, high = min(places) * 10**digits // 2**64 + 1, max(places) * 10**digits // 2**64
        if low <= high:
            return f"{low / 10**digits:.{digits}f} to {high / 10**digits:.{digits}f}"
        digits += 1  # the two ends are near each other


def list_recordings(folder: Path, speaker_level: int) -> list[Recording]:
    """Every audio file below a folder, by path.

    Raises:
        CodecError: no such folder, or no audio file below it.
    """
    if not folder.is_dir():
        raise CodecError(f"{folder}: no such folder; give the folder that holds the recordings")
    recordings = []
    for path in recordings_below(folder):
        parts = path.relative_to(folder).with_suffix("").parts
        speaker = parts[speaker_level - 1] if 0 < speaker_level < len(parts) else ""
        recordings.append(Recording("__".join(parts), path, speaker, _transcript(path)))
    return recordings


def _transcript(path: Path) -> Path | None:
    for suffix in TEXT_SUFFIXES:
        text = path.with_name(path.stem + suffix)
        with suppress(OSError):  # a name of its length may be more than the disk takes
            if text.is_file():
                return text
    return None


def _is_held_out(recording: Recording, share: float) -> bool:
    return _place(recording) < share * 2**64


def _place(recording: Recording) -> int:
    """Where a speaker, or a recording without one, stands from 0 to 2^64; those below the share are held out."""
    digest = hashlib.sha256((recording.speaker or recording.id).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8])
