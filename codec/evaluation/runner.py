"""Scoring a test set, utterance by utterance, over as many processes as there are."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from codec import audio as audio_io
from codec.errors import CodecError
from codec.evaluation.metric import Metric, definitions
from codec.evaluation.pair import Pair, Scores, as_16_bit, check_pair, score_pair
from codec.evaluation.pool import ScoringPool
from codec.evaluation.protocol import Protocol
from codec.evaluation.recordings import check_file, check_unchanged, fingerprint
from codec.evaluation.records import AUDIO_FOLDER, DEFINITIONS, VERSIONS, Part, Record, Store, is_complete, sound_of
from codec.evaluation.report import SUMMARY_FILES
from codec.evaluation.speed import SPEED_FILE, Speed
from codec.evaluation.systems import System
from codec.evaluation.versions import versions
from codec.files import read_json, remove_files
from codec.manifest import Utterance

Progress = Callable[[int, int], None]  # (utterances done, of how many) in this process


@dataclass(frozen=True)
class Outcome:
    """What a run leaves, the same in every process and for any number of them."""

    records: dict[str, Record]  # by id, sorted
    definitions: Mapping[str, Mapping[str, Any]]  # of every value that was asked for, now or earlier; see metric.py
    unavailable: dict[str, str]  # metric -> why it could not be computed, and what to do
    versions: Mapping[str, str]  # library -> version that scored, or several, with commas
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
    workers: int = 0,
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
        save_audio: keep the reconstructions; those of which only the scores are kept are made again.
        overwrite: drop the scores that ``folder`` holds.
        workers: processes of each process for the metrics that need no accelerator; 0: they are computed in turn.
        progress: called before the first and after every utterance of this process.

    Raises:
        CodecError: ``folder`` holds other scores, scores of other recordings of the same ids, or by other weights or
            texts, cannot be written, or has lost records to another run; what :func:`check_ids` raises, where sounds
            are kept. An utterance that cannot be read or reconstructed is no error: it is recorded with its reason.
    """
    if save_audio:
        check_ids(utterances)
    state = state or PartialState()
    unavailable = {metric.name: reason for metric in metrics if (reason := metric.unavailable())}
    all_values = {metric.name: tuple(metric.values) for metric in metrics}
    metrics = [metric for metric in metrics if metric.name not in unavailable]
    store = Store(folder)
    if state.is_main_process:
        if overwrite:  # they may be of another system; before its scores, so that none of them outlives those
            remove_files(store.folder / name for name in (SPEED_FILE, *SUMMARY_FILES))
        store.open(_settings(system, utterances, protocol), overwrite, scored_with=_scored_with(metrics, utterances))
        check_unchanged(store, utterances)
        if not store.notes(DEFINITIONS) and (summary := store.folder / SUMMARY_FILES[0]).is_file():
            # From before definitions were noted: what the folder holds is in its summary.
            store.note(DEFINITIONS, read_json(summary, "remove it").get("definitions", {}))
        store.note(DEFINITIONS, definitions(metrics))
    state.wait_for_everyone()

    done = store.records()
    values = [value for metric in metrics for value in metric.values]
    open_ones = [
        utterance
        for utterance in utterances
        if not is_complete(found := done.get(utterance.id), values)
        or (save_audio and not (found is not None and sound_of(store.folder, found)))
    ]
    mine = share(open_ones, state.process_index, state.num_processes)
    # All have read what is done before any makes a part.
    state.wait_for_everyone()
    if state.is_main_process and open_ones:
        store.note_versions(versions(system))
    audio_folder = store.folder / AUDIO_FOLDER if save_audio else None
    speed = Speed()
    finished = itertools.count()

    def report() -> None:
        count = next(finished)
        if progress:
            progress(count, len(mine))

    report()
    if mine:
        work = [
            (utterance, [metric for metric in metrics if not is_complete(done.get(utterance.id), metric.values)])
            for utterance in mine
        ]
        pooled = [metric for metric in metrics if metric.in_pool]
        with store.part(state.process_index) as part, ScoringPool(workers, pooled) as pool:
            _Share(system, audio_folder, protocol, pool, part, speed, report).run(work)
    state.wait_for_everyone()
    if state.is_main_process:
        store.collect()
    state.wait_for_everyone()
    wanted = {utterance.id: utterance for utterance in utterances}
    records = {
        id_: dataclasses.replace(record, speaker=wanted[id_].speaker)  # as the manifest has it now
        for id_, record in store.records().items()
        if id_ in wanted
    }
    if len(records) < len(wanted):
        raise CodecError(
            f"{store.folder}: {len(wanted) - len(records)} of {len(wanted)} utterances have no record, as happens "
            "where two runs write to one folder; let the other one end, and run again, which scores what is missing"
        )
    held = {value for record in records.values() for value in (*record.scores, *record.failures)}
    shown = {value: facts for value, facts in store.notes(DEFINITIONS).items() if value in held or value in values}
    noted = store.notes(VERSIONS)
    return Outcome(
        records,
        shown,
        {name: reason for name, reason in unavailable.items() if not _has_all(records, all_values[name])},
        {library: ", ".join(found) for library, found in noted.items()} or versions(system),
        protocol,
        sum(gather_object([speed]), Speed()),
    )


def check_ids(utterances: Sequence[Utterance]) -> None:
    """Refuse ids that name no file below a folder. ``speaker/one`` is one, in a folder of its own.

    Raises:
        CodecError: an id that is absolute, leads upwards, or is another spelling of another id's file.
    """
    for utterance in utterances:
        if "\0" in utterance.id or not {"", ".", ".."}.isdisjoint(utterance.id.split("/")):
            raise CodecError(
                f"id {utterance.id!r}: expected one that names a file in {AUDIO_FOLDER}/, without empty parts, . and "
                ".. between slashes; rename it in the manifest, or score without --save-audio"
            )


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
) -> Record:
    """Reconstruct and score one utterance in this process; whatever fails is in the record with its reason.

    Args:
        system: under test.
        utterance: to reconstruct.
        metrics: to compute.
        audio_folder: for ``ID.wav``; None keeps nothing.
        protocol: see :class:`Protocol`.
    """
    record, pair = _reconstruct(system, utterance, audio_folder, protocol, Speed())
    if pair is not None:
        _add_scores(record, score_pair(pair, metrics))
    return record


@dataclass
class _Share:
    """The utterances of one process, on their way from the system through the pool to the records."""

    system: System
    audio_folder: Path | None
    protocol: Protocol
    pool: ScoringPool
    part: Part
    speed: Speed
    report: Callable[[], None]  # an utterance is done

    def run(self, work: Sequence[tuple[Utterance, list[Metric]]]) -> None:
        """Reconstruct and score; no more pairs wait for the pool than keep it busy."""
        waiting: deque[tuple[Record, Future[Scores], Scores, list[Metric]]] = deque()
        # The first pays for what is made once (kernels, folded weights): no speed, unless it is all there is.
        warm_up = Speed()
        for utterance, metrics in work:
            speed = self.speed if warm_up.utterances or len(work) == 1 else warm_up
            record, pair = _reconstruct(self.system, utterance, self.audio_folder, self.protocol, speed)
            if pair is None:
                self._add(record)
                continue
            elsewhere = self.pool.submit(pair, [metric.name for metric in metrics if metric.in_pool])
            here = score_pair(pair, [metric for metric in metrics if not metric.in_pool])
            waiting.append((record, elsewhere, here, metrics))
            while waiting and (waiting[0][1].done() or len(waiting) > 2 * self.pool.workers):
                self._finish(*waiting.popleft())
        while waiting:
            self._finish(*waiting.popleft())

    def _finish(self, record: Record, elsewhere: Future[Scores], here: Scores, metrics: Sequence[Metric]) -> None:
        scores = self.pool.result(elsewhere)
        both = Scores({**scores.numbers, **here.numbers}, {**scores.failures, **here.failures})
        # In the order of the metrics, wherever they were computed: equal records are equal lines.
        values = [value for metric in metrics for value in (*metric.values, *metric.counts)]
        numbers = {value: both.numbers[value] for value in values if value in both.numbers}
        failures = {value: both.failures[value] for value in values if value in both.failures}
        _add_scores(record, Scores(numbers, failures))
        self._add(record)

    def _add(self, record: Record) -> None:
        self.part.add(record)
        self.report()


def _reconstruct(
    system: System, utterance: Utterance, audio_folder: Path | None, protocol: Protocol, speed: Speed
) -> tuple[Record, Pair | None]:
    """A record without scores, and what is to be scored; without a pair the record says why."""
    record = Record(utterance.id, utterance.speaker, utterance.duration_s)
    try:
        check_file(utterance)
        record.recording = fingerprint(utterance)
        reference = audio_io.load(utterance.path, system.sample_rate)
        reconstruction = system.reconstruct(utterance, reference)
        check_pair(reference, reconstruction.audio, system.sample_rate)
    except CodecError as error:
        record.error = str(error)
        return record, None
    except torch.OutOfMemoryError:
        record.error = "more than the memory of the accelerator holds"
        torch.cuda.empty_cache()
        return record, None
    if reconstruction.tokens is not None:
        record.tokens = reconstruction.tokens.tolist()
    record.file_bytes = reconstruction.file_bytes
    speed.add(utterance.duration_s, reconstruction.encode_s, reconstruction.decode_s)
    record.sound = audio_folder is not None
    if audio_folder is not None:
        audio_io.write(audio_folder / f"{utterance.id}.wav", reconstruction.audio, system.sample_rate)
    degraded = reconstruction.audio if reconstruction.from_file else as_16_bit(reconstruction.audio, protocol.peak)
    return record, Pair(reference, degraded, system.sample_rate, utterance.text)


def _add_scores(record: Record, scores: Scores) -> None:
    record.scores.update(scores.numbers)
    record.failures.update(scores.failures)


def _has_all(records: Mapping[str, Record], values: Sequence[str]) -> bool:
    """Whether all that was ever reconstructed has these values, from an earlier run."""
    found = [record for record in records.values() if record.error is None or record.scores or record.failures]
    return bool(found) and all(is_complete(record, values) for record in found)


def _settings(system: System, utterances: Sequence[Utterance], protocol: Protocol) -> dict[str, str | int]:
    """Whatever changes a score, apart from what the metrics bring: a later run may add some (:func:`_scored_with`)."""
    digest = hashlib.sha256()
    for utterance in sorted(utterances, key=lambda item: item.id):
        digest.update(f"{utterance.id}\0{utterance.num_samples}\0{utterance.sample_rate}\n".encode())
    return {
        "system": system.identity,
        "sample_rate": system.sample_rate,
        "test_set": f"{len(utterances)} utterances {digest.hexdigest()[:16]}",
        "protocol": str(protocol),
    }


def _scored_with(metrics: Sequence[Metric], utterances: Sequence[Utterance]) -> dict[str, dict[str, str]]:
    """What the values of these metrics rest on beside the settings; nothing for a metric that is a formula."""
    texts = hashlib.sha256()
    for utterance in sorted(utterances, key=lambda item: item.id):
        texts.update(f"{utterance.id}\0{utterance.text}\n".encode())
    found: dict[str, dict[str, str]] = {}
    for metric in metrics:
        facts = {"weights": metric.weights} if metric.weights else {}
        if metric.needs_text:
            facts["texts"] = texts.hexdigest()
        if metric.definition > 1:
            facts["definition"] = str(metric.definition)
        if facts:
            found |= dict.fromkeys(metric.values, facts)
    return found
