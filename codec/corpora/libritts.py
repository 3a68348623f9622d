"""LibriTTS (OpenSLR 60), LibriTTS-R (OpenSLR 141), and every corpus laid out like them.

The layout::

    CORPUS/speakers.tsv                                    READER, GENDER, SUBSET, NAME; tabs between; may be missing
    CORPUS/SPLIT/READER/CHAPTER/                           train-clean-100/103/1240/
        READER_CHAPTER_PPPPPP_UUUUUU.wav                   paragraph and utterance, six digits each
        READER_CHAPTER_PPPPPP_UUUUUU.original.txt          as printed in the book
        READER_CHAPTER_PPPPPP_UUUUUU.normalized.txt        as read: numbers and abbreviations written out
        READER_CHAPTER.trans.tsv, READER_CHAPTER.book.tsv  the chapter's transcripts again, and more; not needed here

LibriTTS-R's authors also publish lists of utterances whose restoration failed, by speech recognition
(``libritts_r_failed_speech_restoration_examples``); where that folder lies in the corpus's or beside it, what it names
is left out.

FLAC and Ogg are read as well as WAV, because recoded copies of the corpus are common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codec.audio import AUDIO_SUFFIXES
from codec.corpora.preparation import Progress, Recording, SplitSummary, prepare_split
from codec.errors import CodecError

FAILED_LISTS = "libritts_r_failed_speech_restoration_examples"  # holds SPLIT_bad_sample_list.txt, a path a line
NAME = re.compile(r"(?P<reader>\d+)_(?P<chapter>\d+)_\d{6}_\d{6}")


@dataclass(frozen=True)
class KnownSplit:
    """What the corpus's authors say a split holds."""

    utterances: int
    speakers: int
    hours: float


# Zen et al. 2019 (arXiv 1904.02882), table 1: 585.8 hours of 2,456 speakers. LibriTTS-R restores the same utterances.
KNOWN_SPLITS = {
    "train-clean-100": KnownSplit(33_236, 247, 53.78),
    "train-clean-360": KnownSplit(116_500, 904, 191.29),
    "train-other-500": KnownSplit(205_044, 1_160, 310.08),
    "dev-clean": KnownSplit(5_736, 40, 8.97),
    "dev-other": KnownSplit(4_613, 33, 6.43),
    "test-clean": KnownSplit(4_837, 39, 8.56),
    "test-other": KnownSplit(5_120, 33, 6.69),
}


def find_splits(corpus_dir: str | Path) -> list[str]:
    """Names of the folders that hold recordings in the corpus's layout: the known ones first, then by name.

    Raises:
        CodecError: no such folder, or none of its folders holds a recording.
    """
    corpus_dir = Path(corpus_dir)
    if not corpus_dir.is_dir():
        raise CodecError(f"{corpus_dir}: no such folder; give the folder that holds train-clean-100, test-clean, ...")
    folders = _folders(corpus_dir)
    splits = [folder.name for folder in folders if any(_recording_paths(folder))]
    if not splits:
        inner = [folder for folder in folders if any(any(_recording_paths(path)) for path in _folders(folder))]
        hint = f"did you mean {inner[0]}?" if inner else "give the folder that holds train-clean-100, test-clean, ..."
        raise CodecError(
            f"{corpus_dir}: no folder in it holds recordings as SPLIT/READER/CHAPTER/READER_CHAPTER_PPPPPP_UUUUUU.wav; "
            + hint
        )
    order = list(KNOWN_SPLITS)
    return sorted(splits, key=lambda name: (order.index(name) if name in order else len(order), name))


def prepare(
    corpus_dir: str | Path,
    output_dir: str | Path,
    splits: Sequence[str] = (),
    *,
    jobs: int = 4,
    force: bool = False,
    progress: Progress | None = None,
) -> Iterator[SplitSummary]:
    """Write ``output_dir/SPLIT.jsonl`` for each split and yield what it holds, one after the other.

    Args:
        corpus_dir: the folder that holds the split folders.
        output_dir: where the manifests go.
        splits: names of split folders; none: every one that is there.
        jobs: threads that open files.
        force: write manifests again that are there already.
        progress: called with (done, total) while the files of a split are opened.

    Raises:
        CodecError: a split that is not there, or that has not one readable recording.
    """
    corpus_dir = Path(corpus_dir)
    found = find_splits(corpus_dir)
    for split in splits or found:
        if split not in found:
            raise CodecError(f"{corpus_dir / split}: no such split with recordings; there are {', '.join(found)}")
    for split in splits or found:
        recordings, notes = list_split(corpus_dir / split)
        yield prepare_split(split, recordings, output_dir, notes=notes, jobs=jobs, force=force, progress=progress)


def list_split(split_dir: Path) -> tuple[list[Recording], list[str]]:
    """The recordings of a split by id, and a note on each audio file that is known to be bad or out of place."""
    recordings, notes = [], []
    failed = failed_restorations(split_dir)
    for path in _recording_paths(split_dir):
        name = NAME.fullmatch(path.stem)
        reader, chapter = path.parent.parent.name, path.parent.name
        if name is None:
            notes.append(f"{path}: name is not READER_CHAPTER_PPPPPP_UUUUUU")
        elif (name["reader"], name["chapter"]) != (reader, chapter):
            notes.append(f"{path}: lies in the folder of reader {reader}, chapter {chapter}")
        elif path.stem in failed:
            notes.append(f"{path}: its restoration failed, say the authors of LibriTTS-R")
        else:
            transcript = path.with_name(f"{path.stem}.normalized.txt")
            recordings.append(Recording(path.stem, path, reader, transcript if transcript.is_file() else None))
    return recordings, notes


def failed_restorations(split_dir: Path) -> set[str]:
    """Ids that LibriTTS-R's authors list as badly restored; empty where the lists are not there.

    Raises:
        CodecError: a list that cannot be read, or is none.
    """
    name = f"{split_dir.name}_bad_sample_list.txt"
    path = next((path for folder in _lists_places(split_dir.parent) if (path := folder / name).is_file()), None)
    if path is None:
        return set()
    try:
        ids = {Path(line.strip()).stem for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise CodecError(f"{path}: cannot read the list ({error}); unpack it again, or delete the folder") from None
    strange = next((id_ for id_ in sorted(ids) if not NAME.fullmatch(id_)), None)
    if strange is not None:
        raise CodecError(
            f"{path}: {strange!r} names no utterance; expected a path like ./{split_dir.name}/84/121123/"
            "84_121123_000007_000001.wav on each line"
        )
    return ids


def find_failed_lists(corpus_dir: Path) -> Path | None:
    """The folder of those lists; None where they are not there."""
    return next((folder for folder in _lists_places(corpus_dir) if folder.is_dir()), None)


def _lists_places(corpus_dir: Path) -> tuple[Path, Path]:
    return corpus_dir / FAILED_LISTS, corpus_dir.parent / FAILED_LISTS


def compare(summary: SplitSummary) -> str:
    """How a prepared split stands against the published counts, in a few words; empty for splits without any."""
    known = KNOWN_SPLITS.get(summary.split)
    if known is None:
        return ""
    differences = []
    if summary.utterances != known.utterances:
        differences.append(f"{summary.utterances - known.utterances:+,} utterances of {known.utterances:,}")
    if summary.speakers != known.speakers:
        differences.append(f"{summary.speakers - known.speakers:+,} speakers of {known.speakers:,}")
    if abs(summary.hours - known.hours) > 0.02 * known.hours:  # LibriTTS-R trims a little, published hours are rounded
        differences.append(f"{summary.hours:.2f} of {known.hours:.2f} hours")
    return "; ".join(differences) or "utterances, speakers and hours as published"


def _recording_paths(split_dir: Path) -> Iterator[Path]:
    """Audio files at READER/CHAPTER/ below a split folder, in order of their names, lazily."""
    for reader in _folders(split_dir):
        for chapter in _folders(reader):
            yield from (path for path in _entries(chapter) if path.suffix.lower() in AUDIO_SUFFIXES)


def _folders(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if entry.is_dir()]


def _entries(path: Path) -> list[Path]:
    """What a folder holds by name, without hidden files (macOS leaves ``._NAME.wav`` in archives)."""
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise CodecError(f"{path}: cannot list the folder ({error.strerror}); make it readable") from None
    return [entry for entry in entries if not entry.name.startswith(".")]
