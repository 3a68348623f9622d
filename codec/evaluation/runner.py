"""Scoring a test set, utterance by utterance, over as many processes as there are."""

from __future__ import annotations

import hashlib
import heapq
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional as F

from codec import audio as audio_io
from codec.errors import CodecError
from codec.evaluation.metric import Metric, MetricError, Trim
from codec.evaluation.protocol import Protocol
from codec.evaluation.records import Record, Store, is_complete
from codec.evaluation.speed import Speed
from codec.evaluation.systems import System
from codec.manifest import Utterance

AUDIO_FOLDER = "audio"
MAX_LENGTH_DIFFERENCE_S = 0.5  # beyond it reference and reconstruction are not a pair

Progress = Callable[[int, int], None]  # (utterances done, of how many) in this process


@dataclass(frozen=True)
class Outcome:
    """What a run leaves, the same in every process and for any number of them."""

    records: dict[str, Record]  # by id, sorted
    metrics: list[Metric]  # that could be computed
    unavailable: dict[str, str]  # metric -> why not, and what to do
    protocol: Protocol = Protocol.STRICT
    speed: Speed = field(default_factory=Speed)  # of what was reconstructed in this run


def evaluate(
    system: System,
    utterances: Sequence[Utterance],
    metrics: Sequence[Metric],
    folder: str | Path,
    *,
    protocol: Protocol = Protocol.STRICT,
    state: PartialState | None = None,
    save_audio: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Score ``system`` on ``utterances``; what ``folder`` already holds is not scored again.

    Every process calls this with the same arguments.

    Args:
        system: under test.
        utterances: the test set.
        metrics: those that are not available are named in the outcome.
        folder: for the records, and ``audio/ID.wav`` where asked for.
        protocol: the one that ``system`` and ``metrics`` were built for.
        state: Accelerate's; None: the current one.
        save_audio: keep the reconstructions that are made now.
        overwrite: drop the scores that ``folder`` holds.
        progress: called before the first and after every utterance of this process.

    Raises:
        CodecError: ``folder`` holds other scores or cannot be written. An utterance that cannot be read or
            reconstructed is no error: it is recorded with its reason.
    """
    state = state or PartialState()
    unavailable = {metric.name: reason for metric in metrics if (reason := metric.unavailable())}
    metrics = [metric for metric in metrics if metric.name not in unavailable]
    store = Store(folder)
    if state.is_main_process:
        store.open(_settings(system, utterances, protocol), overwrite)
    state.wait_for_everyone()

    done = store.records()
    values = [value for metric in metrics for value in metric.values]
    open_ones = [utterance for utterance in utterances if not is_complete(done.get(utterance.id), values)]
    mine = share(open_ones, state.process_index, state.num_processes)
    # All have read what is done before any makes a part.
    state.wait_for_everyone()
    audio_folder = store.folder / AUDIO_FOLDER if save_audio else None
    speed = Speed()
    if progress:
        progress(0, len(mine))
    if mine:
        with store.part(state.process_index) as part:
            for count, utterance in enumerate(mine, 1):
                missing = [m for m in metrics if not is_complete(done.get(utterance.id), m.values)]
                part.add(score_utterance(system, utterance, missing, audio_folder, protocol, speed))
                if progress:
                    progress(count, len(mine))
    state.wait_for_everyone()
    if state.is_main_process:
        store.collect()
    state.wait_for_everyone()
    wanted = {utterance.id for utterance in utterances}
    records = {id_: record for id_, record in store.records().items() if id_ in wanted}
    return Outcome(records, metrics, unavailable, protocol, sum(gather_object([speed]), Speed()))


def share(utterances: Sequence[Utterance], process: int, processes: int) -> list[Utterance]:
    """This process's share: longest first, each to whoever has least to do. No utterance is in two shares."""
    loads = [(0.0, index) for index in range(processes)]
    mine = []
    for utterance in sorted(utterances, key=lambda item: (-item.duration_s, item.id)):
        load, index = heapq.heappop(loads)
        heapq.heappush(loads, (load + utterance.duration_s, index))
        if index == process:
            mine.append(utterance)
    return mine


def score_utterance(
    system: System,
    utterance: Utterance,
    metrics: Sequence[Metric],
    audio_folder: Path | None = None,
    protocol: Protocol = Protocol.STRICT,
    speed: Speed | None = None,
) -> Record:
    """Reconstruct and score one utterance; whatever fails is in the record with its reason.

    Args:
        system: under test.
        utterance: to reconstruct.
        metrics: to compute.
        audio_folder: for ``ID.wav``; None keeps nothing.
        protocol: see :class:`Protocol`.
        speed: where the times are counted.
    """
    record = Record(utterance.id, utterance.speaker, utterance.duration_s)
    try:
        reference = audio_io.load(utterance.path, system.sample_rate)
        reconstruction = system.reconstruct(utterance, reference)
        _check_pair(reference, reconstruction.audio, system.sample_rate)
    except CodecError as error:
        record.error = str(error)
        return record
    if reconstruction.tokens is not None:
        record.tokens = reconstruction.tokens.tolist()
    record.file_bytes = reconstruction.file_bytes
    if speed is not None:
        speed.add(utterance.duration_s, reconstruction.encode_s, reconstruction.decode_s)
    if audio_folder is not None:
        audio_io.write(audio_folder / f"{utterance.id}.wav", reconstruction.audio, system.sample_rate)
    degraded = reconstruction.audio if reconstruction.from_file else as_16_bit(reconstruction.audio, protocol.peak)
    pair = Pair(reference, degraded, system.sample_rate)
    for metric in metrics:
        scores, reason = _score(metric, pair)
        for value in metric.values:
            if value in scores and math.isfinite(scores[value]):
                record.scores[value] = scores[value]
            else:
                record.failures[value] = reason or "not a finite number"
    return record


def as_16_bit(audio: Tensor, peak: float = 1.0) -> Tensor:
    """What comes back from a 16-bit wave file after clipping at ``peak``: (T,) float -> (T,) float32.

    By the library that writes such files, because its rounding (towards minus infinity) is its own affair.
    """
    file = io.BytesIO()
    # The rate is part of the header only.
    soundfile.write(file, audio.clamp(-peak, peak).numpy(), 24_000, "PCM_16", format="WAV")
    file.seek(0)
    return torch.from_numpy(soundfile.read(file, dtype="float32")[0])


class Pair:
    """A reference and its reconstruction at whatever rate metrics ask for; each resampled once."""

    def __init__(self, reference: Tensor, degraded: Tensor, sample_rate: int) -> None:
        """(T,) and (T',) float32, both at ``sample_rate`` Hz."""
        T = reference.shape[-1]
        self._rate = sample_rate
        trimmed = F.pad(degraded[:T], (0, max(0, T - degraded.shape[-1])))
        self._signals: dict[tuple[str, int], Tensor] = {
            ("original", sample_rate): reference,
            ("reference", sample_rate): trimmed,
            ("none", sample_rate): degraded,
        }

    def at(self, sample_rate: int | None, trim: Trim) -> tuple[Tensor, Tensor]:
        """Reference (T,) and reconstruction (T',) at ``sample_rate`` (None: their own), trimmed as asked."""
        rate = sample_rate or self._rate
        if trim == "shorter":
            true, found = self._resampled("original", rate), self._resampled("none", rate)
            shorter = min(true.shape[-1], found.shape[-1])
            return true[:shorter], found[:shorter]
        return self._resampled("original", rate), self._resampled(trim, rate)

    def _resampled(self, kind: str, rate: int) -> Tensor:
        key = (kind, rate)
        if key not in self._signals:
            self._signals[key] = audio_io.resample(self._signals[kind, self._rate], self._rate, rate)
        return self._signals[key]


def _score(metric: Metric, pair: Pair) -> tuple[Mapping[str, float], str | None]:
    """Scores, and why some are missing."""
    try:
        return metric.score(*pair.at(metric.sample_rate, metric.trim)), None
    except MetricError as failure:
        return failure.scores, str(failure)


def _check_pair(reference: Tensor, degraded: Tensor, sample_rate: int) -> None:
    if not bool(degraded.isfinite().all()):
        raise CodecError("the reconstruction has NaN or infinite samples")
    longer_s = (degraded.shape[-1] - reference.shape[-1]) / sample_rate
    if abs(longer_s) > MAX_LENGTH_DIFFERENCE_S:
        raise CodecError(
            f"the reconstruction is {abs(longer_s):.2f} s {'longer' if longer_s > 0 else 'shorter'} "
            "than the reference; they are not a pair"
        )


def _settings(system: System, utterances: Sequence[Utterance], protocol: Protocol) -> dict[str, str | int]:
    """Whatever changes a score, apart from the metrics: a later run may add some."""
    digest = hashlib.sha256()
    for utterance in sorted(utterances, key=lambda item: item.id):
        digest.update(f"{utterance.id}\0{utterance.num_samples}\0{utterance.sample_rate}\n".encode())
    return {
        "system": system.identity,
        "sample_rate": system.sample_rate,
        "test_set": f"{len(utterances)} utterances {digest.hexdigest()[:16]}",
        "protocol": str(protocol),
    }
