"""The published protocol against a second computation, written from its description with the libraries alone."""

from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from doubles import RATE, noisy
from pesq import pesq
from pystoi import stoi
from torch import Tensor

from codec import Codec
from codec import audio as audio_io
from codec.evaluation import (
    MetricOptions,
    Protocol,
    Reconstruction,
    SystemOptions,
    build_metrics,
    build_system,
    evaluate,
    score_utterance,
    summarize,
)
from codec.manifest import Utterance

# As the published script has them; torchaudio loads beside one release of torch only.
torchaudio = pytest.importorskip("torchaudio", exc_type=(ImportError, OSError))
torchcrepe = pytest.importorskip("torchcrepe")

PADDING = 240  # samples that the system leaves at the end


class Padding:
    """Loud and noisy, and longer than its input, as a codec that leaves its last frame whole."""

    name = identity = "padding"
    sample_rate = RATE
    rate = None

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        tail = torch.full((PADDING,), 1.5)  # beyond full scale
        if utterance.id == "unvoiced":
            return Reconstruction(torch.cat([noisy(torch.zeros_like(reference), 0.1, 2), tail]))
        return Reconstruction(torch.cat([noisy(2 * reference, 0.02, 1), tail]))


@pytest.fixture(scope="module")
def test_set(clips: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Speech, 60 ms of speech in silence (an error code of PESQ), and speech that comes back without voicing."""
    folder = tmp_path_factory.mktemp("published")
    blip = torch.zeros(9_600)
    blip[:1500] = clips[0][6000:7500]
    result = []
    for id_, clip in {"speech": clips[2][:12_000], "blip": blip, "unvoiced": clips[3][6000:13_200]}.items():
        audio_io.write(folder / f"{id_}.wav", clip, RATE)
        result.append(Utterance(id_, folder / f"{id_}.wav", len(clip), RATE, "s", "test"))
    return result


def published_scores(utterance: Utterance, folder: Path) -> dict[str, float]:
    """What the published script computes for one file, from its description."""
    raw = torch.from_numpy(soundfile.read(utterance.path, dtype="float32")[0])
    made = Padding().reconstruct(utterance, raw).audio.clamp(-0.99, 0.99)
    path = folder / f"{utterance.id}.wav"
    soundfile.write(path, made.numpy(), RATE, subtype="PCM_16")
    coded = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    assert len(coded) == len(raw) + PADDING
    raw_16k, coded_16k = (torchaudio.functional.resample(audio, RATE, 16_000) for audio in (raw, coded))
    shorter = min(len(raw_16k), len(coded_16k))
    raw_16k, coded_16k = raw_16k[:shorter], coded_16k[:shorter]
    shorter = min(len(raw), len(coded))
    voiced, true = (periodicity(audio) >= 0.21 for audio in (coded_16k, raw_16k))
    with np.errstate(invalid="ignore", divide="ignore"):
        hits = np.float64((voiced & true).sum())
        precision, recall = hits / voiced.sum(), hits / true.sum()
        f1 = 2 * precision * recall / (precision + recall)
    return {
        "pesq_wb": pesq(16_000, raw_16k.numpy(), coded_16k.numpy(), "wb", on_error=1),
        "stoi": float(stoi(raw[:shorter].numpy(), coded[:shorter].numpy(), RATE, extended=False)),
        "vuv_f1": float(f1),
    }


def periodicity(audio: Tensor) -> np.ndarray:
    """Of each frame of 10 ms, 0 where it is silent."""
    _, found = torchcrepe.predict(audio[None], 16_000, 160, 50.0, 550.0, "full", return_periodicity=True, pad=False)
    stft = librosa.stft(audio.numpy(), n_fft=1024, hop_length=160, center=False)
    with np.errstate(divide="ignore"):
        level = librosa.perceptual_weighting(np.abs(stft) ** 2, librosa.fft_frequencies(sr=16_000, n_fft=1024)) - 20
    track = found[0].numpy().copy()
    track[level.mean(axis=0) < -60] = 0
    return track


@pytest.mark.filterwarnings("ignore:Not enough STFT frames")
def test_agrees_with_an_independent_computation(test_set: list[Utterance], tmp_path: Path) -> None:
    options = MetricOptions(RATE, protocol=Protocol.PUBLISHED)
    metrics = build_metrics(["pesq", "stoi", "f1"], options)
    outcome = evaluate(Padding(), test_set, metrics, tmp_path / "out", protocol=Protocol.PUBLISHED)
    summary = summarize(Padding(), outcome, "three")
    assert summary["protocol"] == "published"
    expected = {utterance.id: published_scores(utterance, tmp_path) for utterance in test_set}
    assert expected["blip"]["pesq_wb"] < 0 and expected["blip"]["stoi"] == 1e-5  # the flaws are exercised
    assert math.isnan(expected["unvoiced"]["vuv_f1"]) and 0.1 < expected["speech"]["vuv_f1"] < 1
    for value in ("pesq_wb", "stoi", "vuv_f1"):
        numbers = [scores[value] for scores in expected.values() if not math.isnan(scores[value])]
        result = summary["metrics"][value]
        assert result["mean"] == pytest.approx(np.mean(numbers), abs=1e-6), value
        assert (result["n_ok"], result["n_failed"]) == (len(numbers), 3 - len(numbers))


def test_strict_counts_what_published_averages(test_set: list[Utterance]) -> None:
    metrics = build_metrics(["pesq", "stoi"], MetricOptions(RATE))
    record = score_utterance(Padding(), test_set[1], metrics)
    assert record.scores == {}
    assert record.failures == {
        "pesq_wb": "PESQ finds no utterance",
        "stoi": "fewer than 30 frames with speech",
    }


def test_a_model_keeps_its_last_frame_whole(
    tiny_codec: Codec, tiny_model_dir: Path, utterances: list[Utterance], clips: list[Tensor]
) -> None:
    system = build_system(str(tiny_model_dir), SystemOptions(protocol=Protocol.PUBLISHED))
    made = system.reconstruct(utterances[0], clips[0]).audio
    assert len(clips[0]) % 320
    assert torch.equal(made, tiny_codec.decode(tiny_codec.encode(clips[0]).tokens)[0, 0])
    assert len(made) == -(-len(clips[0]) // 320) * 320


def test_scores_of_two_protocols_are_not_mixed(test_set: list[Utterance], tmp_path: Path) -> None:
    evaluate(Padding(), test_set[:1], build_metrics(["mel"], MetricOptions(RATE)), tmp_path)
    options = MetricOptions(RATE, protocol=Protocol.PUBLISHED)
    with pytest.raises(ValueError, match="protocol was 'strict' and is 'published'"):
        evaluate(Padding(), test_set[:1], build_metrics(["mel"], options), tmp_path, protocol=Protocol.PUBLISHED)


def test_every_metric_that_compares_is_cut_to_the_shorter() -> None:
    names = ["pesq", "pesq-nb", "stoi", "estoi", "f1", "mel", "stft", "si-sdr"]
    metrics = build_metrics(names, MetricOptions(RATE, protocol=Protocol.PUBLISHED))
    assert [metric.trim for metric in metrics] == ["shorter"] * len(names)
