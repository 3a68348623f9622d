"""What the report shows, read from the folders of a run and its evaluations."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from codec import Codec, CodecError, RunConfig, audio, bitstream, load_run_config
from codec.drawing import audio_image, mel_decibels
from codec.evaluation.records import RECORDS_FILE, Record, Store
from codec.manifest import Utterance, read_manifest
from codec.pages import flac

SYSTEMS = ("trained", "untrained")


@dataclass(frozen=True)
class Training:
    """What a run folder tells."""

    config: RunConfig
    parameters: int  # trainable
    bitrate_bps: float
    lines: list[dict[str, Any]]  # of metrics.jsonl
    corpus_s: float | None  # length of the training recordings, where their manifests are at hand

    @property
    def steps(self) -> int:
        """Steps done."""
        return max((int(line["step"]) for line in self.lines), default=0)

    @property
    def time_s(self) -> float:
        """Seconds of training."""
        return max((float(line["time_s"]) for line in self.lines if "time_s" in line), default=0.0)

    @property
    def audio_s(self) -> float:
        """Seconds of audio that went through the network, crop by crop."""
        return self.steps * self.config.data.batch_size * self.config.data.crop_s

    @property
    def switch(self) -> int | None:
        """The step from which the codebook was in use, where the run began without it."""
        return next((int(line["step"]) for line in self.lines if line.get("kind") == "switch"), None)

    def curve(self, kind: str, key: str) -> list[tuple[float, float]]:
        """(step, value) of every line of a kind that has the key."""
        return [(line["step"], line[key]) for line in self.lines if line.get("kind") == kind and key in line]


@dataclass(frozen=True)
class Version:
    """One way in which a recording is heard."""

    name: str  # original, trained, untrained
    flac: bytes
    png: bytes
    size: int  # bytes: of the token file, of the original's samples
    tokens: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A held-out recording and what became of it."""

    utterance: Utterance
    source: dict[str, str]  # its line of SOURCES.csv; empty where there is none
    versions: list[Version]


def read_training(folder: Path) -> Training:
    """Read a run folder.

    Raises:
        CodecError: no settings, no model, or no metrics in it.
    """
    config = load_run_config(folder / "config.yaml")
    codec = Codec.from_pretrained(folder / "best", device="cpu")
    path = folder / "metrics.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); train first") from None
    lines = []
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was killed
            continue
        if isinstance(entry, dict) and "step" in entry:
            lines.append(entry)
    try:
        recordings = [utterance for manifest in config.data.train for utterance in read_manifest(manifest)]
        corpus_s = sum(utterance.duration_s for utterance in recordings)
    except CodecError:  # the run was made elsewhere: its manifests are not here
        corpus_s = None
    parameters = sum(parameter.numel() for parameter in codec.parameters() if parameter.requires_grad)
    return Training(config, parameters, codec.bitrate_bps, lines, corpus_s)


def read_summary(folder: Path) -> dict[str, Any]:
    """Read an evaluation's ``summary.json``.

    Raises:
        CodecError: it is not there, or not JSON.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); score with recipes/evaluate.py first") from None
    except ValueError:
        raise CodecError(f"{path}: not JSON; score again with recipes/evaluate.py") from None
    if not isinstance(summary, dict) or not {"metrics", "definitions", "rate"} <= summary.keys():
        raise CodecError(f"{path}: not the summary of an evaluation; score again with recipes/evaluate.py")
    return summary


def read_records(folder: Path) -> dict[str, Record]:
    """Per-utterance scores by id.

    Raises:
        CodecError: none there, or damaged.
    """
    records = Store(folder).records()
    if not records:
        raise CodecError(f"{folder / RECORDS_FILE}: no scores; score with recipes/evaluate.py first")
    return records


def read_sources(path: Path) -> dict[str, dict[str, str]]:
    """Lines of SOURCES.csv by the stem of their file, which is the utterance's id.

    Raises:
        CodecError: it cannot be read, or has no column ``file``.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {Path(line["file"]).stem: line for line in csv.DictReader(file)}
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); give --sources") from None
    except (KeyError, UnicodeDecodeError):
        raise CodecError(f"{path}: not a table of sources (a CSV file with a column file); give --sources") from None


def collect_examples(
    utterances: list[Utterance],
    folder: Path,
    records: list[dict[str, Record]],
    sources: dict[str, dict[str, str]],
) -> list[Example]:
    """Each recording that both models have encoded and decoded, in the manifest's order.

    Raises:
        CodecError: there is none, or one that cannot be read.
    """
    examples = []
    for utterance in utterances:
        files = [folder / name / f"{utterance.id}.wav" for name in SYSTEMS]
        if not all(file.is_file() for file in files):
            continue
        original, rate = audio.read(utterance.path)
        reference = audio.to_mono(original)
        # One scale for all versions: what is weaker is drawn weaker.
        scale = {"peak": float(reference.abs().max()), "top_db": float(mel_decibels(reference, rate).max())}
        versions = [_version("original", reference, rate, scale, size=2 * len(reference))]
        for name, file, known in zip(SYSTEMS, files, records, strict=True):
            tokens = file.with_suffix(bitstream.SUFFIX)
            record = known.get(utterance.id)
            decoded, rate = audio.read(file)
            versions.append(
                _version(
                    name,
                    audio.to_mono(decoded),
                    rate,
                    scale,
                    tokens=len(bitstream.read_tokens(tokens).tokens),
                    size=tokens.stat().st_size,
                    scores=record.scores if record else {},
                    failures=record.failures if record else {},
                )
            )
        examples.append(Example(utterance, sources.get(utterance.id, {}), versions))
    if not examples:
        raise CodecError(f"{folder}: no recording decoded by both models; expected trained/ID.wav and untrained/ID.wav")
    return examples


def _version(name: str, samples: Tensor, rate: int, scale: dict[str, float], **facts: Any) -> Version:
    return Version(name, flac(samples, rate), audio_image(samples, rate, **scale), **facts)
