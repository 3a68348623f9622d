"""Single pairs: what the Scorer and ``codec score`` say is what a whole evaluation says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from doubles import RATE, NoisySystem, noisy
from torch import Tensor

from codec import CodecError, audio
from codec.evaluation import MetricOptions, ReconstructedFiles, Scorer, build_metrics, score_utterance
from codec.manifest import Utterance

NAMES = ["pesq", "stoi", "mel", "si-sdr", "level"]


def test_a_pair_scores_as_in_an_evaluation(utterances: list[Utterance], clips: list[Tensor]) -> None:
    record = score_utterance(NoisySystem(), utterances[0], build_metrics(NAMES, MetricOptions(RATE)))
    reference = audio.load(utterances[0].path, RATE)
    degraded = noisy(reference, seed=len(utterances[0].id))
    scorer = Scorer(RATE, NAMES)
    scores = scorer.score(reference, degraded)
    assert scores.numbers == record.scores and not scores.failures
    # As codec.decode gives it, and as other programs do.
    assert scorer.score(reference.numpy(), degraded.view(1, 1, -1)).numbers == scores.numbers


def test_files_score_as_a_folder_of_files_does(
    utterances: list[Utterance], clips: list[Tensor], tmp_path: Path
) -> None:
    """Of another rate, another length, several channels: made alike in the same way."""
    wide = audio.resample(noisy(clips[0]), RATE, 32_000)[:-500]
    soundfile.write(tmp_path / "u0.wav", np.stack([wide.numpy(), 0.5 * wide.numpy()], axis=1), 32_000)
    audio.write(tmp_path / "u1.flac", noisy(clips[1]), RATE)
    scorer = Scorer(RATE, NAMES)
    for utterance, name in zip(utterances, ("u0.wav", "u1.flac"), strict=False):
        record = score_utterance(
            ReconstructedFiles(tmp_path, RATE), utterance, build_metrics(NAMES, MetricOptions(RATE))
        )
        scores = scorer.score_files(utterance.path, tmp_path / name)
        assert scores.numbers == record.scores and len(scores.numbers) >= len(NAMES)


def test_what_cannot_be_told_has_its_reason(clips: list[Tensor], tmp_path: Path) -> None:
    scorer = Scorer(RATE, ["utmos", "pesq", "stoi"], utmos_weights=tmp_path / "none.pt")
    scores = scorer.score(clips[0], torch.zeros_like(clips[0]))
    assert not scores.numbers
    assert scores.failures["stoi"] == "the reconstruction is silent"
    assert "no weights; run codec fetch utmos" in scores.failures["utmos"]


@pytest.mark.parametrize(
    ("degraded", "says"),
    [
        (torch.zeros(2, 24_000), r"the reconstruction has shape \(2, 24000\): expected one recording"),
        (torch.zeros(24_000, dtype=torch.int16), "expected floats"),
        (torch.full((24_000,), torch.nan), "the reconstruction has NaN"),
        (torch.zeros(0), "the reconstruction has no samples"),
        (torch.zeros(120_000), "longer than the reference; they are not a pair"),
        ([0.0] * 24_000, "expected a tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_pair(clips: list[Tensor], degraded: object, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        Scorer(RATE, ["level"]).score(clips[0], degraded)  # type: ignore[arg-type]


def test_unknown_metrics() -> None:
    with pytest.raises(CodecError, match="unknown metric 'pesqq'; did you mean pesq"):
        Scorer(RATE, ["pesqq"])


def test_the_example_of_the_documents(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    section = (root / "docs/evaluation.md").read_text(encoding="utf-8").split("## One pair")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], flags=re.DOTALL)
    exec(code.replace("simvq-24khz-0.9kbps", str(tiny_model_dir)).replace("egs/mini", str(root / "egs/mini")), {})
    assert re.fullmatch(r"[1-4]\.\d+ \{\}\n", capsys.readouterr().out)
