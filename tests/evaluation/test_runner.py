from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from doubles import RATE, NoisySystem, PeakMetric
from torch import Tensor

from codec import CodecError, audio
from codec.evaluation import Reconstruction, Value, evaluate, score_utterance, summarize
from codec.evaluation.compare import Evaluation, compare
from codec.evaluation.mel import LogMelDistance
from codec.evaluation.pair import Pair, as_16_bit
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.evaluation.records import Record, sound_of
from codec.evaluation.report import write_report
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


def test_what_is_too_long_for_the_accelerator_does_not_end_the_run(utterances: list[Utterance], tmp_path: Path) -> None:
    class Small(NoisySystem):
        def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
            if len(reference) > 30_000:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().reconstruct(utterance, reference)

    outcome = evaluate(Small(), utterances, [LogMelDistance()], tmp_path)
    errors = {id_ for id_, record in outcome.records.items() if record.error}
    assert errors == {u.id for u in utterances if u.num_samples > 30_000} != set()
    assert sum(bool(record.scores) for record in outcome.records.values()) == len(utterances) - len(errors)


def test_the_first_of_several_is_a_warm_up(utterances: list[Utterance], tmp_path: Path) -> None:
    class Slow(NoisySystem):
        def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
            first = not self.asked
            made = super().reconstruct(utterance, reference)
            return dataclasses.replace(made, encode_s=9.0 if first else 0.5, decode_s=0.25)

    several = evaluate(Slow(), utterances, [LogMelDistance()], tmp_path / "all").speed
    assert (several.utterances, several.encode_s) == (len(utterances) - 1, 0.5 * (len(utterances) - 1))
    assert evaluate(Slow(), utterances[:1], [LogMelDistance()], tmp_path / "one").speed.encode_s == 9.0


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
    assert list(outcome.definitions) == ["mel_distance"]
    assert outcome.records["u0"].scores.keys() == {"mel_distance"}


def test_saved_audio_scores_like_the_system_that_made_it(utterances: list[Utterance], tmp_path: Path) -> None:
    made = evaluate(NoisySystem(), utterances[:2], [LogMelDistance()], tmp_path / "made", save_audio=True)
    files = ReconstructedFiles(tmp_path / "made" / "audio", RATE)
    read = evaluate(files, utterances[:2], [LogMelDistance()], tmp_path / "read")
    silent = {id_: dataclasses.replace(record, sound=False) for id_, record in made.records.items()}
    assert read.records == silent != made.records
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
