"""The worst and the best utterance of each system by each metric, to be heard and seen, as far as the page may grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from codec import audio
from codec.drawing import audio_image, compact_png, mel_decibels
from codec.errors import CodecError
from codec.evaluation.records import sound_of
from codec.evaluation.table import Runs, SystemTable
from codec.manifest import Utterance
from codec.pages import flac

CLIP_S = 8.0  # of each utterance is in the page
ORIGINAL = ""  # as a version; systems are called by their names in the table, which are never empty
ENCODED = 4 / 3  # bytes in the page for a byte of sound or picture


@dataclass(frozen=True)
class Extreme:
    """The utterance on which a system does worst, or best, by one value."""

    value: str
    system: str
    kind: Literal["worst", "best"]
    id: str
    score: float


@dataclass(frozen=True)
class Version:
    """One way in which an utterance is heard."""

    name: str  # ORIGINAL, or a system
    sound: bytes  # FLAC
    picture: bytes  # PNG

    @property
    def size(self) -> float:
        """Bytes that it takes in the page."""
        return ENCODED * (len(self.sound) + len(self.picture))


@dataclass
class Example:
    """An utterance and all versions of it that are in the page."""

    id: str
    utterance: Utterance | None  # None: the manifest is not given, or lacks it
    duration_s: float
    versions: list[Version] = field(default_factory=list)
    shown_for: list[Extreme] = field(default_factory=list)


@dataclass(frozen=True)
class Examples:
    """What is heard in the page, and why the rest is not."""

    extremes: Sequence[Extreme]  # all of them
    heard: Mapping[str, Example]  # by utterance, in the order in which they came in
    silent: Sequence[str]  # systems that kept no sound
    left_out: int  # extremes whose sound would have made the page too large
    bytes_used: float


def find_extremes(table: SystemTable, runs: Runs) -> list[Extreme]:
    """By value, then system: the worst, then the best; none where all scores are equal, or there is only one.

    Of equal scores the first by id counts.
    """
    found = []
    for value, column in table.columns.items():
        for system, evaluation in runs.evaluations.items():
            scores = sorted(
                (record.scores[value], id_) for id_, record in evaluation.records.items() if value in record.scores
            )
            if not scores or scores[0][0] == scores[-1][0]:
                continue
            highest = scores[-1][0]
            low, high = scores[0], next(score for score in scores if score[0] == highest)
            worst, best = (low, high) if column.better == "higher" else (high, low)
            found.append(Extreme(value, system, "worst", worst[1], worst[0]))
            found.append(Extreme(value, system, "best", best[1], best[0]))
    return found


def collect_examples(table: SystemTable, runs: Runs, utterances: Sequence[Utterance], sound_bytes: int) -> Examples:
    """Sounds and pictures of the extremes, in their order, until the page is full.

    Args:
        table: says which values and systems.
        runs: where the scores and reconstructions are.
        utterances: where the originals are; may be empty.
        sound_bytes: that all sounds and pictures may take in the page.

    Raises:
        CodecError: a sound that is there cannot be read.
    """
    extremes = find_extremes(table, runs)
    originals = {utterance.id: utterance for utterance in utterances}
    silent = [
        name
        for name, run in runs.evaluations.items()
        if not any(sound_of(run.folder, record) for record in run.records.values())
    ]
    heard: dict[str, Example] = {}
    used, left_out, full = 0.0, 0, False
    for extreme in extremes:
        run = runs.evaluations[extreme.system]
        path = sound_of(run.folder, run.records[extreme.id])
        if path is None:
            continue
        example = heard.get(extreme.id)
        if example is None:
            duration_s = runs.evaluations[extreme.system].records[extreme.id].duration_s
            example = Example(extreme.id, originals.get(extreme.id), duration_s)
        there = {version.name for version in example.versions}
        if extreme.system not in there:
            # Once one did not fit, nothing more is made: later metrics only point at what is there.
            new = [] if full else _new_versions(example, extreme.system, path)
            size = sum(version.size for version in new)
            full = full or used + size > sound_bytes
            if full:
                left_out += 1
                continue
            example.versions += new
            used += size
        example.shown_for.append(extreme)
        heard[extreme.id] = example
    return Examples(extremes, heard, silent, left_out, used)


def _new_versions(example: Example, system: str, path: Path) -> list[Version]:
    """What is not there yet: the original, where it is at hand, and the system's."""
    new = []
    reconstruction, rate = _clip(path)
    scale = None
    if example.utterance is not None:
        try:
            original, original_rate = _clip(example.utterance.path)
        except CodecError:  # a test set may have moved since it was scored; the page then says that it has none
            original = None
        if original is not None:
            # One scale for all versions: what is weaker is drawn weaker.
            scale = {"peak": float(original.abs().max()), "top_db": float(mel_decibels(original, original_rate).max())}
            if not any(version.name == ORIGINAL for version in example.versions):
                new.append(_version(ORIGINAL, original, original_rate, scale))
    new.append(_version(system, reconstruction, rate, scale or {}))
    return new


def _clip(path: Path) -> tuple[Tensor, int]:
    """The first seconds of a file, (T,), and its rate."""
    _, rate = audio.read(path, num_samples=1)
    samples, rate = audio.read(path, num_samples=round(CLIP_S * rate))
    return audio.to_mono(samples), rate


def _version(name: str, samples: Tensor, rate: int, scale: Mapping[str, float]) -> Version:
    return Version(name, flac(samples, rate), compact_png(audio_image(samples, rate, **scale)))
