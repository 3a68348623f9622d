"""A result folder from one run to the next: what goes on, what is kept, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from doubles import RATE, NoisySystem, PeakMetric
from torch import Tensor

from codec import CodecError, audio
from codec.evaluation import Value, evaluate, summarize
from codec.evaluation.compare import Evaluation, compare
from codec.evaluation.mel import LogMelDistance
from codec.evaluation.records import Record, sound_of
from codec.evaluation.report import write_report
from codec.evaluation.speed import Speed, write_speed
from codec.evaluation.stoi import STOI
from codec.evaluation.systems import GroundTruth
from codec.manifest import Utterance


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


def test_nothing_of_another_system_outlives_overwrite(utterances: list[Utterance], tmp_path: Path) -> None:
    made = evaluate(NoisySystem(), utterances[:2], [PeakMetric()], tmp_path, save_audio=True)
    write_report(tmp_path, summarize(NoisySystem(), made, "two"))
    assert all(record.sound for record in made.records.values())

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(GroundTruth(RATE), utterances[:2], [PeakMetric()], tmp_path, overwrite=True, progress=stop)
    assert not list(tmp_path.glob("summary.*"))
    with pytest.raises(CodecError, match=r"score with recipes/evaluate\.py first"):
        Evaluation.read(tmp_path)
    other = evaluate(GroundTruth(RATE), utterances[:2], [PeakMetric()], tmp_path)
    assert not any(record.sound for record in other.records.values())  # though the other's lie there


def test_a_summary_of_another_system_or_of_fewer_scores_is_refused(utterances: list[Utterance], tmp_path: Path) -> None:
    for name, system, test_set in (("a", NoisySystem(), utterances[:2]), ("b", GroundTruth(RATE), utterances[:2])):
        outcome = evaluate(system, test_set, [PeakMetric()], tmp_path / name)
        write_report(tmp_path / name, summarize(system, outcome, "two"))
        Evaluation.read(tmp_path / name)
    shutil.copy(tmp_path / "a" / "summary.json", tmp_path / "b" / "summary.json")
    with pytest.raises(CodecError, match=r"not that of its scores; run recipes/evaluate\.py on it again"):
        Evaluation.read(tmp_path / "b")


def test_sounds_can_be_asked_for_later(utterances: list[Utterance], tmp_path: Path) -> None:
    first = evaluate(NoisySystem(), utterances[:2], [PeakMetric()], tmp_path)
    system = NoisySystem()
    kept = evaluate(system, utterances[:2], [PeakMetric()], tmp_path, save_audio=True)
    assert sorted(system.asked) == ["u0", "u1"] and (tmp_path / "audio" / "u1.wav").is_file()
    assert {id_: record.scores for id_, record in kept.records.items()} == {
        id_: record.scores for id_, record in first.records.items()
    }
    evaluate(system, utterances[:2], [PeakMetric()], tmp_path, save_audio=True)
    assert len(system.asked) == 2


def test_sounds_that_were_removed_are_made_again(utterances: list[Utterance], tmp_path: Path) -> None:
    evaluate(NoisySystem(), utterances[:2], [PeakMetric()], tmp_path, save_audio=True)
    (tmp_path / "audio" / "u1.wav").unlink()
    system = NoisySystem()
    evaluate(system, utterances[:2], [PeakMetric()], tmp_path, save_audio=True)
    assert system.asked == ["u1"] and (tmp_path / "audio" / "u1.wav").is_file()


def test_folders_of_before_keep_their_sounds_and_values(utterances: list[Utterance], tmp_path: Path) -> None:
    made = evaluate(NoisySystem(), utterances[:2], [PeakMetric(), LogMelDistance()], tmp_path, save_audio=True)
    write_report(tmp_path, summarize(NoisySystem(), made, "two"))
    lines = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    old = [{key: value for key, value in line.items() if key not in ("sound", "recording")} for line in lines]
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    settings = json.loads((tmp_path / "settings.json").read_text())
    for key in ("definitions", "versions"):
        del settings[key]
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    system = NoisySystem()
    again = evaluate(system, utterances[:2], [LogMelDistance()], tmp_path, save_audio=True)
    assert system.asked == []
    assert list(again.definitions) == ["peak", "half_peak", "mel_distance"]
    assert all(sound_of(tmp_path, record) for record in again.records.values())


def test_a_metric_that_was_defined_anew_is_not_mixed(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        outcome = evaluate(NoisySystem(), utterances[:2], [PeakMetric()], tmp_path / name)
        write_report(tmp_path / name, summarize(NoisySystem(), outcome, "two"))
        monkeypatch.setattr(PeakMetric, "definition", 2)
    with pytest.raises(CodecError, match=r"peak: definition were not noted and are 2.*--overwrite"):
        evaluate(NoisySystem(), utterances[:2], [PeakMetric()], tmp_path / "a")
    with pytest.raises(CodecError, match=r"half_peak of .* has another definition each; score both alike"):
        compare(*(Evaluation.read(tmp_path / name) for name in ("a", "b")))


def test_a_file_in_the_place_of_the_folder_is_a_mistake(utterances: list[Utterance], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CodecError, match="cannot be removed"):
        evaluate(NoisySystem(), utterances[:2], [PeakMetric()], tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_earlier_metrics_stay_in_the_summary(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(NoisySystem(), utterances, [LogMelDistance()], tmp_path)
    monkeypatch.setattr("codec.evaluation.runner.versions", lambda system: {"torch": "99"})
    both = evaluate(NoisySystem(), utterances, [PeakMetric()], tmp_path)
    summary = summarize(NoisySystem(), both, "six")
    assert list(summary["metrics"]) == ["mel_distance", "peak", "half_peak"]
    assert summary["metrics"]["mel_distance"]["n_ok"] == len(utterances)
    assert summary["versions"]["torch"].endswith(", 99") and summary["versions"]["pesq"]
    gone = evaluate(NoisySystem(), utterances, [PeakMetric("no weights"), LearnedMetric("a")], tmp_path)
    assert gone.unavailable == {} and "peak" in gone.definitions  # its scores are all there
    # A metric that was stopped half way: what it lacks is not called a failure of the reconstruction.
    done = iter(range(99))

    def stop(_: int, total: int) -> None:
        if next(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(NoisySystem(), utterances, [STOI(RATE)], tmp_path, progress=stop)
    half = summarize(NoisySystem(), evaluate(NoisySystem(), utterances, [PeakMetric()], tmp_path), "six")
    assert half["metrics"]["stoi"]["failures"] == {"not scored yet": len(utterances) - 3}
    monkeypatch.setattr(STOI, "unavailable", lambda self: "gone")
    half = summarize(NoisySystem(), evaluate(NoisySystem(), utterances, [STOI(RATE)], tmp_path), "six")
    assert half["not_available"] == {"stoi": "gone"} and half["metrics"]["stoi"]["n_ok"] == 3  # why no more will come


def test_scores_of_other_recordings_are_not_mixed(utterances: list[Utterance], tmp_path: Path) -> None:
    folder = tmp_path / "speech"
    folder.mkdir()
    test_set = [dataclasses.replace(u, path=folder / f"{u.id}.flac") for u in utterances[:3]]
    for utterance, original in zip(test_set, utterances, strict=False):
        audio.write(utterance.path, audio.load(original.path, RATE), RATE)
    for name, found in (("wav", utterances[:3]), ("flac", test_set)):
        outcome = evaluate(NoisySystem(), found, [LogMelDistance()], tmp_path / name)
        write_report(tmp_path / name, summarize(NoisySystem(), outcome, "three"))
    wav, flac = (Evaluation.read(tmp_path / name) for name in ("wav", "flac"))
    assert {difference.difference for difference in compare(wav, flac)} == {0.0}  # another format is no difference
    other = audio.load(test_set[1].path, RATE)
    other[len(other) // 2 :] *= 0.5  # the same name and length
    audio.write(test_set[1].path, other, RATE)
    with pytest.raises(CodecError, match=r"scores of other recordings of the same ids \(u1\); choose another folder"):
        evaluate(NoisySystem(), test_set, [LogMelDistance()], tmp_path / "flac")
    outcome = evaluate(NoisySystem(), test_set, [LogMelDistance()], tmp_path / "flac", overwrite=True)
    write_report(tmp_path / "flac", summarize(NoisySystem(), outcome, "three"))
    with pytest.raises(CodecError, match=r"scored on other recordings of the same ids \(u1\)"):
        compare(wav, Evaluation.read(tmp_path / "flac"))
    test_set[1].path.unlink()  # what is scored is scored
    evaluate(NoisySystem(), test_set, [LogMelDistance()], tmp_path / "flac")


def test_speakers_are_those_of_the_manifest(utterances: list[Utterance], tmp_path: Path) -> None:
    evaluate(NoisySystem(), utterances, [LogMelDistance()], tmp_path)
    renamed = [dataclasses.replace(utterance, speaker="one") for utterance in utterances]
    outcome = evaluate(NoisySystem(), renamed, [LogMelDistance()], tmp_path)
    assert list(summarize(NoisySystem(), outcome, "six")["per_speaker"]) == ["one"]


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
