from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from doubles import RATE, NoisySystem, PeakMetric
from torch import Tensor

from codec import CodecError, audio
from codec.evaluation import Reconstruction, evaluate, score_utterance, summarize
from codec.evaluation.mel import LogMelDistance
from codec.evaluation.pair import Pair, as_16_bit
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.evaluation.runner import share
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
