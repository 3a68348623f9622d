"""From a list of recordings to a manifest: what every corpus shares.

A corpus module lists its recordings (:class:`Recording`: an id, a file, a speaker, perhaps a transcript);
:func:`prepare_split` opens them in parallel, leaves the bad ones out with a note, writes ``SPLIT.jsonl`` and, last, the
marker ``.SPLIT.completed``. The marker holds a fingerprint of the files that the manifest was made from: a second call
with nothing changed does nothing, and a changed corpus is noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from codec import audio
from codec.errors import CodecError
from codec.files import write_text
from codec.manifest import Utterance, walk_manifest, write_manifest

logger = logging.getLogger(__name__)

MARKER_VERSION = 1  # raise it when the same files would give another manifest
CHUNK = 64  # recordings handed to a thread at once: one future for each of 200,000 files would cost more than the work

Progress = Callable[[int, int], None]  # recordings looked at so far, recordings in all


@dataclass(frozen=True)
class Recording:
    """A file of a corpus, not opened yet."""

    id: str
    path: Path
    speaker: str = ""
    transcript: Path | None = None  # a UTF-8 file that holds the text and nothing else


@dataclass(frozen=True)
class SplitSummary:
    """What a prepared split holds, and what was left out of it."""

    split: str
    manifest: Path
    utterances: int
    speakers: int
    duration_s: float
    without_text: int
    notes: list[str] = field(default_factory=list)  # one line for each recording that was left out
    fresh: bool = True  # False: the manifest was there already and nothing had changed

    @property
    def hours(self) -> float:
        """Speech in hours."""
        return self.duration_s / 3600


def fingerprint(files: Iterable[Path]) -> str:
    """Digest of names, sizes and modification times: cheap to take of 600,000 files, and it changes when they do."""
    digest = hashlib.sha256()
    for path in sorted(files):
        try:
            status = path.stat()
        except OSError as error:
            # A dangling link, or a file that vanished: opening it will tell; the digest only has to differ from before.
            digest.update(f"{path}\0{error.errno}\n".encode(errors="surrogateescape"))
        else:
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def prepare_split(
    split: str,
    recordings: Sequence[Recording],
    output_dir: str | Path,
    *,
    notes: Sequence[str] = (),
    jobs: int = 4,
    force: bool = False,
    progress: Progress | None = None,
) -> SplitSummary:
    """Write ``output_dir/SPLIT.jsonl``, unless it is there already and the files have not changed since.

    Args:
        split: name of the split and of the manifest.
        recordings: what to put into it, in this order; of two with the same id the first is taken.
        output_dir: made when it is missing.
        notes: what the corpus module left out already; kept in the summary in front of what is left out here.
        jobs: threads that open files (reading headers waits for the disk, not for Python).
        force: write the manifest again in any case.
        progress: called with (done, total) while files are opened.

    Raises:
        CodecError: not one readable recording, or the output cannot be written.
    """
    output_dir = Path(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CodecError(f"{output_dir}: cannot write there ({error.strerror}); choose a writable folder") from None
    manifest, marker = _places(split, output_dir)
    files = [path for recording in recordings for path in (recording.path, recording.transcript) if path is not None]
    state = {
        "version": MARKER_VERSION,
        "notes": list(notes),
        "fingerprint": fingerprint(file.absolute() for file in files),
    }
    if not force and manifest.is_file() and (summary := _completed(marker, state, split, manifest)):
        return summary

    utterances, left_out = _open_all(split, recordings, jobs, progress)
    for note in left_out:
        logger.warning("left out: %s", note)
    if not utterances:
        reason = left_out[0] if left_out else "the split is empty"
        raise CodecError(f"{split}: not one readable recording ({reason}); check the corpus, or name other splits")
    summary = SplitSummary(
        split=split,
        manifest=manifest,
        utterances=len(utterances),
        speakers=len({utterance.speaker for utterance in utterances}),
        duration_s=round(sum(utterance.duration_s for utterance in utterances), 3),
        without_text=sum(utterance.text is None for utterance in utterances),
        notes=[*notes, *left_out],
    )
    # The marker goes first and comes back last: whenever it is there, it speaks of the manifest beside it.
    marker.unlink(missing_ok=True)
    write_manifest(manifest, utterances)
    kept = {key: value for key, value in asdict(summary).items() if key not in ("split", "manifest", "fresh")}
    write_text(marker, json.dumps({"state": state, "summary": kept}, indent=1, ensure_ascii=False) + "\n")
    return summary


def drop_split(split: str, recordings: Iterable[Recording], output_dir: str | Path) -> bool:
    """Remove the manifest of a split that is prepared no more, if it has any of ``recordings``.

    Nothing else is removed: not a manifest without the marker of :func:`prepare_split`, and not one of other
    recordings, which may stand beside the new ones as before.

    Args:
        split: name of the split and of the manifest.
        recordings: what is prepared for other splits.
        output_dir: where the manifests are.

    Returns:
        Whether there was such a manifest.

    Raises:
        CodecError: it cannot be removed.
    """
    manifest, marker = _places(split, Path(output_dir))
    if not (manifest.is_file() and marker.is_file()):
        return False
    try:
        held = {os.path.realpath(utterance.path) for utterance in walk_manifest(manifest)}
    except CodecError:  # changed by hand, and nothing that anyone could validate on
        return False
    if not any(os.path.realpath(recording.path) in held for recording in recordings):
        return False
    try:
        # In this order: a marker by itself says nothing, a manifest without one would stay for good.
        manifest.unlink()
        marker.unlink()
    except OSError as error:
        raise CodecError(
            f"{manifest}: cannot be removed ({error.strerror}); remove it, or give another output"
        ) from None
    return True


def _places(split: str, output_dir: Path) -> tuple[Path, Path]:
    """Manifest and marker of a split."""
    return output_dir / f"{split}.jsonl", output_dir / f".{split}.completed"


def _completed(marker: Path, state: dict[str, object], split: str, manifest: Path) -> SplitSummary | None:
    """The summary of an earlier preparation of exactly these files; None when there is none to trust."""
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found["state"] != state:
            return None
        return SplitSummary(split=split, manifest=manifest, fresh=False, **found["summary"])
    except (OSError, ValueError, KeyError, TypeError):  # no marker, or not one of ours: prepare again
        return None


def _open_all(
    split: str, recordings: Sequence[Recording], jobs: int, progress: Progress | None
) -> tuple[list[Utterance], list[str]]:
    utterances, notes, seen = [], [], set()
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        done = 0
        for results in pool.map(lambda chunk: [_open(split, recording) for recording in chunk], _chunks(recordings)):
            for result in results:
                if isinstance(result, str):
                    notes.append(result)
                elif result.id in seen:
                    notes.append(f"{result.path}: there is another recording with the id {result.id}")
                else:
                    seen.add(result.id)
                    utterances.append(result)
            done += len(results)
            if progress is not None:
                progress(done, len(recordings))
    return utterances, notes


def _chunks(recordings: Sequence[Recording]) -> Iterator[Sequence[Recording]]:
    for start in range(0, len(recordings), CHUNK):
        yield recordings[start : start + CHUNK]


def _open(split: str, recording: Recording) -> Utterance | str:
    """The manifest's entry for a recording, or a note that says why there is none."""
    try:
        str(recording.path).encode()
    except UnicodeEncodeError:
        name = str(recording.path).encode(errors="backslashreplace").decode()
        return f"{name}: the name is no UTF-8, in which a manifest is written; rename it"
    try:
        info = audio.info(recording.path)
        return Utterance(
            id=recording.id,
            path=recording.path,
            num_samples=info.num_samples,
            sample_rate=info.sample_rate,
            speaker=recording.speaker,
            split=split,
            text=_read_text(recording.transcript),
        )
    except CodecError as error:
        return str(error)


def _read_text(path: Path | None) -> str | None:
    """The transcript on one line; None where there is none."""
    if path is None:
        return None
    try:
        text = " ".join(path.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise CodecError(f"{path}: cannot read the transcript ({error})") from None
    return text or None
