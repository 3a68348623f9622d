from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from doubles import RATE, NoisySystem, PeakMetric
from torch import Tensor

from codec import CodecError, audio
from codec.evaluation import Reconstruction, Value, evaluate, score_utterance, summarize
from codec.evaluation.mel import LogMelDistance
from codec.evaluation.pair import Pair, as_16_bit
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.evaluation.records import Record
from codec.evaluation.runner import share
from codec.evaluation.speed import Speed, write_speed
from codec.evaluation.stoi import STOI
from codec.evaluation.systems import GroundTruth
from codec.manifest import Utterance


class Fixed:
    """A system that returns one waveform."""

    name = identity = "fixed"
    sample_rate = RATE
    rate = None

    def __init__(self, waveform: Tensor) -> None:
        self.waveform = waveform

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        return Reconstruction(self.waveform)


def test_shares_are_disjoint_complete_and_even(utterances: list[Utterance]) -> None:
    many = [dataclasses.replace(utterances[0], id=f"u{n}", num_samples=1000 * (1 + n * 37 % 101)) for n in range(200)]
    for processes in (1, 2, 4, 7):
        shares = [share(many, process, processes) for process in range(processes)]
        assert sorted(u.id for part in shares for u in part) == sorted(u.id for u in many)
        loads = [sum(u.num_samples for u in part) for part in shares]
        assert max(loads) - min(loads) <= 101_000
        assert all(
            [u.num_samples for u in part] == sorted((u.num_samples for u in part), reverse=True) for part in shares
        )
    assert share(many[:1], 1, 2) == []


def test_rounding_is_that_of_a_file(clips: list[Tensor], tmp_path: Path) -> None:
    waveform = 3 * clips[0]  # beyond full scale here and there
    assert waveform.abs().max() > 1
    audio.write(tmp_path / "a.wav", waveform, RATE)
    assert torch.equal(as_16_bit(waveform), audio.load(tmp_path / "a.wav", RATE))


def test_pairs_are_trimmed_to_the_reference(clips: list[Tensor]) -> None:
    reference = clips[0]
    longer, shorter = torch.cat([reference, torch.ones(300)]), reference[:-300]
    for degraded in (longer, shorter):
        pair = Pair(reference, degraded, RATE)
        for rate in (None, 16_000):
            true, found = pair.at(rate, "reference")
            assert true.shape == found.shape
            assert torch.equal(true, audio.resample(reference, RATE, rate or RATE))
        assert len(pair.at(None, "none")[1]) == len(degraded)
    assert torch.equal(Pair(reference, longer, RATE).at(None, "reference")[1], reference)
    assert Pair(reference, shorter, RATE).at(None, "reference")[1][-300:].abs().max() == 0


def test_ground_truth_is_the_ceiling(utterances: list[Utterance]) -> None:
    record = score_utterance(GroundTruth(RATE), utterances[0], [STOI(RATE), LogMelDistance()])
    assert record.scores["stoi"] == pytest.approx(1, abs=1e-6)
    assert record.scores["mel_distance"] == 0  # the file was 16-bit itself
    assert record.failures == {}


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (torch.full((26_000,), math.nan), "NaN or infinite"),
        (torch.full((26_000,), math.inf), "NaN or infinite"),
        (torch.ones(39_000), "0.54 s longer than the reference"),
        (torch.zeros(0), "no samples"),
        (torch.ones(13_000), "0.54 s shorter than the reference"),
    ],
)
def test_what_is_no_pair_has_no_scores(waveform: Tensor, reason: str, utterances: list[Utterance]) -> None:
    record = score_utterance(Fixed(waveform), utterances[0], [PeakMetric(), STOI(RATE)])
    assert record.error is not None and reason in record.error
    assert record.scores == {} and record.failures == {}


def test_unreadable_files_and_refusals_are_recorded_and_the_run_goes_on(
    utterances: list[Utterance], tmp_path: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    missing = dataclasses.replace(utterances[1], path=tmp_path / "gone.wav")
    unreadable = dataclasses.replace(utterances[3], path=text)
    test_set = [utterances[0], missing, utterances[2], unreadable, utterances[4], utterances[5]]
    outcome = evaluate(NoisySystem(broken=("u4",)), test_set, [PeakMetric()], tmp_path / "out")
    errors = {id_: record.error for id_, record in outcome.records.items() if record.error}
    assert errors.keys() == {"u1", "u3", "u4"}
    assert "gone.wav" in errors["u1"] and "text.wav" in errors["u3"] and errors["u4"] == "refused"
    assert outcome.records["u0"].scores.keys() == {"peak", "half_peak"}
    assert outcome.records["u2"].failures == {"peak": "too long"}
    assert outcome.records["u2"].scores.keys() == {"half_peak"}


def test_a_recording_of_another_length_than_the_manifests_is_counted(
    utterances: list[Utterance], clips: list[Tensor], tmp_path: Path
) -> None:
    coarse = tmp_path / "coarse.wav"
    audio.write(coarse, audio.resample(clips[2], RATE, 16_000), 16_000)
    test_set = [
        utterances[0],
        dataclasses.replace(utterances[1], num_samples=22_124),
        dataclasses.replace(utterances[2], path=coarse),
        dataclasses.replace(utterances[2], id="right", path=coarse, num_samples=22_001, sample_rate=16_000),
        dataclasses.replace(utterances[3], sample_rate=16_000),
    ]
    system = NoisySystem()
    outcome = evaluate(system, test_set, [PeakMetric()], tmp_path / "out")
    errors = {id_: record.error for id_, record in outcome.records.items() if record.error}
    assert errors == {
        "u1": f"{utterances[1].path}: manifest says 22124 samples, the file has 22123; prepare the manifest again",
        "u2": f"{coarse}: manifest says 33001 samples at 24000 Hz, the file has 22001 at 16000 Hz; "
        "prepare the manifest again",
        "u3": f"{utterances[3].path}: manifest says 24000 samples at 16000 Hz, the file has 24000 at 24000 Hz; "
        "prepare the manifest again",
    }
    assert sorted(system.asked) == ["right", "u0"]  # compared at the file's rate, not at the system's
    result = summarize(system, outcome, "five")["metrics"]["half_peak"]
    assert (result["n_ok"], result["n_failed"], result["failures"]) == (2, 3, {"no reconstruction": 3})


def test_a_killed_run_goes_on_and_scores_nothing_twice(utterances: list[Utterance], tmp_path: Path) -> None:
    whole = evaluate(NoisySystem(), utterances, [PeakMetric()], tmp_path / "whole")

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    first, second = NoisySystem(), NoisySystem()
    with pytest.raises(KeyboardInterrupt):
        evaluate(first, utterances, [PeakMetric()], tmp_path / "killed", progress=kill)
    with (tmp_path / "killed" / "parts" / "00000.jsonl").open("a") as part:
        part.write('{"id": "u3", "spea')  # torn in the middle of a line
    steps: list[tuple[int, int]] = []
    resumed = evaluate(
        second,
        utterances,
        [PeakMetric()],
        tmp_path / "killed",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert len(first.asked) == 2
    assert sorted(first.asked + second.asked) == [u.id for u in utterances]
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert resumed.records == whole.records
    assert (tmp_path / "killed" / "utterances.jsonl").read_bytes() == (
        tmp_path / "whole" / "utterances.jsonl"
    ).read_bytes()

    third = NoisySystem()
    evaluate(third, utterances, [PeakMetric()], tmp_path / "killed")
    assert third.asked == []


def test_records_lost_to_another_run_are_said_and_scored_again(utterances: list[Utterance], tmp_path: Path) -> None:
    def lose(done: int, total: int) -> None:
        if done == 2:  # as where a second run collects the parts of the first, which writes on
            (tmp_path / "parts" / "00000.jsonl").unlink()

    with pytest.raises(CodecError, match=r"6 of 6 utterances have no record.*two runs write to one folder"):
        evaluate(NoisySystem(), utterances, [PeakMetric()], tmp_path, progress=lose)
    assert len(evaluate(NoisySystem(), utterances, [PeakMetric()], tmp_path).records) == 6


def test_a_metric_can_be_added_later_and_errors_are_tried_again(utterances: list[Utterance], tmp_path: Path) -> None:
    evaluate(NoisySystem(broken=("u1",)), utterances, [PeakMetric()], tmp_path)
    system = NoisySystem()
    assert evaluate(system, utterances, [PeakMetric()], tmp_path).records["u1"].scores.keys() == {"peak", "half_peak"}
    assert system.asked == ["u1"]
    both = evaluate(NoisySystem(), utterances, [PeakMetric(), LogMelDistance()], tmp_path)
    assert all("mel_distance" in r.scores and "half_peak" in r.scores for r in both.records.values())


class LearnedMetric(PeakMetric):
    """A network, as far as the runner is concerned; and words are said."""

    name: ClassVar[str] = "learned"
    values: ClassVar[Mapping[str, Value]] = {"learned": Value("learned", "higher")}
    needs_text: ClassVar[bool] = True

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.weights = weights

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        return {"learned": float(len(self.weights or ""))}


def test_scores_of_two_networks_or_texts_are_not_mixed(utterances: list[Utterance], tmp_path: Path) -> None:
    def rescore(weights: str, test_set: list[Utterance]) -> dict[str, Record]:
        return evaluate(NoisySystem(), test_set, [PeakMetric(), LearnedMetric(weights)], tmp_path).records

    first = rescore("a" * 64, utterances)
    assert rescore("a" * 64, utterances) == first
    kept = (tmp_path / "settings.json").read_bytes()
    with pytest.raises(CodecError, match=r"learned: weights were a{16} and are b{16}\); choose another folder"):
        rescore("b" * 64, utterances)
    other_words = [dataclasses.replace(utterances[0], text="other words"), *utterances[1:]]
    with pytest.raises(CodecError, match="learned: texts were"):
        rescore("a" * 64, other_words)
    assert (tmp_path / "settings.json").read_bytes() == kept
    # Another metric alone asks nothing of the network, and leaves what is noted of it.
    evaluate(NoisySystem(), other_words, [PeakMetric()], tmp_path)
    with pytest.raises(CodecError, match="weights were a"):
        rescore("b" * 64, utterances)
    evaluate(NoisySystem(), utterances, [LearnedMetric("b" * 64)], tmp_path, overwrite=True)
    noted = json.loads((tmp_path / "settings.json").read_text())["scored_with"]
    assert noted["learned"]["weights"] == "b" * 64 and noted.keys() == {"learned"}


def test_the_speed_of_another_system_goes_with_its_scores(utterances: list[Utterance], tmp_path: Path) -> None:
    write_speed(tmp_path, Speed(1, 1.0, 0.5, 0.5), "cpu")
    evaluate(NoisySystem(), utterances[:1], [PeakMetric()], tmp_path)
    assert (tmp_path / "speed.json").exists()
    evaluate(GroundTruth(RATE), utterances[:1], [PeakMetric()], tmp_path, overwrite=True)
    assert not (tmp_path / "speed.json").exists()


def test_a_network_that_scored_nothing_binds_nobody(utterances: list[Utterance], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(NoisySystem(), utterances, [LearnedMetric("a" * 64)], tmp_path, progress=stop)
    outcome = evaluate(NoisySystem(), utterances, [LearnedMetric("b")], tmp_path)
    assert {record.scores["learned"] for record in outcome.records.values()} == {1.0}
    settings = json.loads((tmp_path / "settings.json").read_text())
    del settings["scored_with"]  # a folder that says nothing of what its scores rest on
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(CodecError, match="weights were not noted and are b"):
        evaluate(NoisySystem(), utterances, [LearnedMetric("b")], tmp_path)


def test_an_unavailable_metric_is_named_and_the_others_go_on(utterances: list[Utterance], tmp_path: Path) -> None:
    absent = PeakMetric("no weights: run codec fetch peak")
    outcome = evaluate(NoisySystem(), utterances[:2], [absent, LogMelDistance()], tmp_path)
    assert outcome.unavailable == {"peak": "no weights: run codec fetch peak"}
    assert [metric.name for metric in outcome.metrics] == ["mel"]
    assert outcome.records["u0"].scores.keys() == {"mel_distance"}


def test_saved_audio_scores_like_the_system_that_made_it(utterances: list[Utterance], tmp_path: Path) -> None:
    made = evaluate(NoisySystem(), utterances[:2], [LogMelDistance()], tmp_path / "made", save_audio=True)
    files = ReconstructedFiles(tmp_path / "made" / "audio", RATE)
    read = evaluate(files, utterances[:2], [LogMelDistance()], tmp_path / "read")
    assert read.records == made.records
    assert made.records["u0"].scores["mel_distance"] > 0.1


@pytest.mark.parametrize("id_", ["../up", "a/../../up", "/{folder}/up", "..", "", "a//b", "./u0", "a/", "nul\0"])
def test_ids_that_lead_out_of_the_folder_of_sounds_are_refused(
    id_: str, utterances: list[Utterance], tmp_path: Path
) -> None:
    id_ = id_.format(folder=tmp_path)
    test_set = [utterances[0], dataclasses.replace(utterances[1], id=id_)]
    system = NoisySystem()
    evaluate(system, utterances[:1], [PeakMetric()], tmp_path / "out")
    kept = sorted(tmp_path.rglob("*"))
    with pytest.raises(CodecError, match=r"expected one that names a file in audio/.*; rename it in the manifest"):
        evaluate(system, test_set, [PeakMetric()], tmp_path / "out", save_audio=True, overwrite=True)
    assert system.asked == ["u0"] and sorted(tmp_path.rglob("*")) == kept
    if "\0" not in id_:
        assert len(evaluate(system, test_set, [PeakMetric()], tmp_path / "silent").records) == 2  # harms nothing there


def test_ids_with_folders_keep_their_sounds_in_folders(utterances: list[Utterance], tmp_path: Path) -> None:
    test_set = [dataclasses.replace(utterances[0], id="speaker/..one"), dataclasses.replace(utterances[1], id="a.b")]
    made = evaluate(NoisySystem(), test_set, [PeakMetric()], tmp_path / "made", save_audio=True)
    folder = tmp_path / "made" / "audio"
    assert (folder / "speaker" / "..one.wav").is_file() and (folder / "a.b.wav").is_file()
    assert evaluate(ReconstructedFiles(folder, RATE), test_set, [PeakMetric()], tmp_path / "read").records.keys() == (
        made.records.keys()
    )
