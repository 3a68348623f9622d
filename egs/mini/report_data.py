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
from codec.evaluation.runner import AUDIO_FOLDER
from codec.evaluation.unavailable import read_unavailable
from codec.files import read_json
from codec.manifest import Utterance, read_manifest
from codec.pages import flac
from codec.pretrained import find_model, weight_files

OURS = {"shipped": "Shipped model", "trained": "Trained here", "untrained": "Untrained"}
PEERS = {"codec2": "Codec 2", "opus": "Opus", "speex": "Speex, wide-band", "speex-nb": "Speex, narrow-band"}


@dataclass(frozen=True)
class System:
    """What turns the recordings into others: its scores, and where its sounds are."""

    name: str  # as the page calls it
    audio: Path  # folder of ID.wav, of ours also of ID.svq
    summary: dict[str, Any] | None = None  # None: not to be had here
    records: dict[str, Record] = field(default_factory=dict)
    ours: bool = False
    reason: str = ""  # why it is not to be had


@dataclass(frozen=True)
class Shipped:
    """Facts about the model that ships."""

    name: str
    parameters: int
    bitrate_bps: float
    frame_rate: float
    sample_rate: int
    codebook_size: int
    weights_bytes: int


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

    name: str  # as the page calls it
    flac: bytes
    png: bytes
    size: int | None  # bytes: of the coded file, of the original's samples
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
    summary = read_json(path, "score with recipes/evaluate.py first")
    if not {"metrics", "definitions", "rate"} <= summary.keys():
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


def read_shipped(name: str) -> Shipped:
    """Load a model that ships.

    Raises:
        CodecError: none of this name.
    """
    codec = Codec.from_pretrained(name, device="cpu")
    folder = find_model(name)
    return Shipped(
        name,
        sum(parameter.numel() for parameter in codec.parameters()),
        codec.bitrate_bps,
        codec.frame_rate,
        codec.sample_rate,
        codec.codebook_size,
        sum((folder / file).stat().st_size for file in weight_files(folder)),
    )


def read_ours(kind: str, evaluation: Path, audio_folder: Path) -> System:
    """One of our models: its evaluation, and what ``codec encode`` and ``codec decode`` wrote.

    Raises:
        CodecError: no scores, or damaged ones.
    """
    return System(OURS[kind], audio_folder / kind, read_summary(evaluation), read_records(evaluation), ours=True)


def read_peer(folder: Path) -> System:
    """Another codec: an evaluation with its sounds, or the note that it is not to be had.

    Raises:
        CodecError: neither, or damaged.
    """
    note = read_unavailable(folder)
    if note is not None:
        return System(_peer_name(note[0]), folder / AUDIO_FOLDER, reason=note[1])
    summary = read_summary(folder)
    return System(_peer_name(summary["system"]["name"]), folder / AUDIO_FOLDER, summary, read_records(folder))


def _peer_name(spec: str) -> str:
    head, _, argument = spec.partition(":")
    unit = {"codec2": " bit/s", "opus": " kbit/s", "speex": ""}.get(head, "")
    quality = "quality " if head in ("speex", "speex-nb") else ""
    return f"{PEERS[head]}, {quality}{argument}{unit}" if head in PEERS else spec


def collect_examples(
    utterances: list[Utterance], systems: list[System], sources: dict[str, dict[str, str]]
) -> list[Example]:
    """Each recording that all of our models have encoded and decoded, in the manifest's order.

    Raises:
        CodecError: there is none, or one that cannot be read.
    """
    ours = [system for system in systems if system.ours]
    examples = []
    for utterance in utterances:
        name = f"{utterance.id}.wav"
        if not ours or not all((system.audio / name).is_file() for system in ours):
            continue
        original, rate = audio.read(utterance.path)
        reference = audio.to_mono(original)
        # One scale for all versions: what is weaker is drawn weaker.
        scale = {"peak": float(reference.abs().max()), "top_db": float(mel_decibels(reference, rate).max())}
        versions = [_version("Original", reference, rate, scale, size=2 * len(reference))]
        for system in systems:
            if not (system.audio / name).is_file():  # it is not to be had, or failed on this one
                continue
            record = system.records.get(utterance.id)
            tokens = system.audio / f"{utterance.id}{bitstream.SUFFIX}"
            decoded, rate = audio.read(system.audio / name)
            versions.append(
                _version(
                    system.name,
                    audio.to_mono(decoded),
                    rate,
                    scale,
                    tokens=len(bitstream.read_tokens(tokens).tokens) if system.ours else None,
                    size=tokens.stat().st_size if system.ours else record.file_bytes if record else None,
                    scores=record.scores if record else {},
                    failures=record.failures if record else {},
                )
            )
        examples.append(Example(utterance, sources.get(utterance.id, {}), versions))
    if not examples:
        places = ", ".join(str(system.audio) for system in ours)
        raise CodecError(f"no recording decoded by all of our models; expected ID.wav and ID.svq in {places}")
    return examples


def _version(name: str, samples: Tensor, rate: int, scale: dict[str, float], **facts: Any) -> Version:
    return Version(name, flac(samples, rate), audio_image(samples, rate, **scale), **facts)
