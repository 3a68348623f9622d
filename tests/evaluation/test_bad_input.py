"""Everything that may be wrong with a test set, in one run: each is counted with its reason, and the rest is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from doubles import RATE, noisy
from torch import Tensor

from codec import audio
from codec.evaluation import MetricOptions, Protocol, build_metrics, evaluate, summarize
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.manifest import Utterance

METRICS = ["pesq", "pesq-nb", "stoi", "estoi", "mel", "stft", "si-sdr", "level"]


@pytest.fixture
def pairs(clips: list[Tensor]) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Reference and what was made of it, by what is wrong."""
    clip, other = clips[0][:24_000], clips[1][:22_000]
    nan = clip.clone()
    nan[5000] = torch.nan
    return {
        "fine": (clip, noisy(clip)),
        "longer": (clip, torch.cat([noisy(clip), 0.1 * other[:4000]])),
        "no-pair": (clip, clip[:10_000]),
        "missing": (clip, None),
        "twice": (clip, clip),
        "nan": (clip, nan),
        "nan-reference": (nan, clip),
        "silent": (torch.zeros(24_000), other),
        "silenced": (clip, torch.zeros(24_000)),
        "quarter": (clip[:7000], noisy(clip[:7000])),  # 0.29 s
        "click": (clip[:300], noisy(clip[:300])),  # 12 ms
    }


@pytest.fixture
def test_set(pairs: dict[str, tuple[Tensor, Tensor | None]], tmp_path: Path) -> list[Utterance]:
    """The references in ``speech``, and what was made of them in ``made``."""
    found = []
    for name, (reference, made) in pairs.items():
        path = tmp_path / "speech" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, reference.numpy(), RATE, "FLOAT")
        found.append(Utterance(name, path, len(reference), RATE, "s", "test"))
        if made is not None:
            (tmp_path / "made").mkdir(exist_ok=True)
            rate = 16_000 if name == "fine" else RATE  # of another rate than its reference
            resampled = made if rate == RATE else audio.resample(made, RATE, rate)
            soundfile.write(tmp_path / "made" / f"{name}.wav", resampled.numpy(), rate, "FLOAT")
    soundfile.write(tmp_path / "made" / "twice.flac", pairs["twice"][0].numpy(), RATE)
    return found


def test_all_that_may_be_wrong_is_counted(test_set: list[Utterance], tmp_path: Path) -> None:
    system = ReconstructedFiles(tmp_path / "made", RATE)
    outcome = evaluate(system, test_set, build_metrics(METRICS, MetricOptions(RATE)), tmp_path / "out")
    records = outcome.records
    errors = {name: record.error for name, record in records.items() if record.error}
    assert errors.keys() == {"no-pair", "missing", "twice", "nan", "nan-reference"}
    assert "0.58 s shorter than the reference; they are not a pair" in errors["no-pair"]
    assert "no file of this id" in errors["missing"]
    assert "several files of this id (twice.wav, twice.flac)" in errors["twice"]
    assert "made/nan.wav: sample 5000 is NaN or infinite" in errors["nan"]
    assert "speech/nan-reference.wav: sample 5000 is NaN or infinite" in errors["nan-reference"]
    for name in ("fine", "longer"):
        assert records[name].failures == {} and len(records[name].scores) == len(METRICS)
    for name, reason in (("silent", "the reference is silent"), ("silenced", "the reconstruction is silent")):
        assert {records[name].failures[value] for value in ("pesq_wb", "pesq_nb", "stoi", "estoi")} == {reason}
        assert "mel_distance" in records[name].scores
    quarter, click = records["quarter"], records["click"]
    assert quarter.failures == {"stoi": "shorter than 0.4 s", "estoi": "shorter than 0.4 s"}
    assert "pesq_wb" in quarter.scores and "si_sdr_db" in quarter.scores
    assert click.failures.keys() >= {"pesq_wb", "stoi", "mel_distance", "stft_distance"}
    summary = summarize(system, outcome, "eleven")
    for result in summary["metrics"].values():
        assert result["n_ok"] + result["n_failed"] == len(test_set)
        assert result["failures"]["no reconstruction"] == 5
        assert result["mean"] is None or np.isfinite(result["mean"])


@pytest.mark.filterwarnings("ignore:Not enough STFT frames")
def test_flaws_that_are_repeated_end_no_run(test_set: list[Utterance], tmp_path: Path) -> None:
    system = ReconstructedFiles(tmp_path / "made", RATE)
    metrics = build_metrics(METRICS, MetricOptions(RATE, protocol=Protocol.PUBLISHED))
    records = evaluate(system, test_set, metrics, tmp_path / "out", protocol=Protocol.PUBLISHED).records
    values = {value for metric in metrics for value in metric.values}
    for record in records.values():
        assert record.error or record.scores.keys() | record.failures.keys() == values
    assert records["click"].failures["stoi"] == "shorter than one frame of 25.6 ms"
    assert records["click"].scores["pesq_wb"] == -6 and records["silent"].scores["pesq_wb"] == -7
