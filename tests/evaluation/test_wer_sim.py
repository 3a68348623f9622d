"""Word error rate and speaker similarity by tiny networks of the real classes, against transformers called directly."""

from __future__ import annotations

import builtins
import dataclasses
import math
import re
import shutil
from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from doubles import RATE, NoisySystem, noisy
from huggingface_hub import constants
from tiny_networks import LETTERS, save_recogniser, save_speaker_network
from torch import Tensor

from codec import audio
from codec.evaluation import GroundTruth, Metric, MetricError, MetricOptions, build_metrics, evaluate, summarize
from codec.evaluation.compare import Evaluation, compare
from codec.evaluation.report import write_report
from codec.evaluation.sim import SpeakerSimilarity
from codec.evaluation.wer import WordErrorRate, words
from codec.manifest import Utterance

TEXTS = ("TO BE", "or not, to-be?", "that's", None, "…!", "tone ate a net on a ten, eaten note")


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recogniser(tmp_path_factory.mktemp("recogniser"))


@pytest.fixture(scope="module")
def speaker_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speaker_network(tmp_path_factory.mktemp("speaker"))


@pytest.fixture
def metrics(recogniser: Path, speaker_network: Path) -> list[Metric]:
    return build_metrics(
        ["wer", "sim"], MetricOptions(RATE, recogniser=recogniser, speaker_network=str(speaker_network))
    )


@pytest.fixture
def spoken(utterances: list[Utterance]) -> list[Utterance]:
    return [dataclasses.replace(u, text=text) for u, text in zip(utterances, TEXTS, strict=True)]


@pytest.fixture(scope="module")
def clips_16k(clips: list[Tensor]) -> list[Tensor]:
    return [audio.resample(clip, RATE, 16_000) for clip in clips]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“Don\N{RIGHT SINGLE QUOTATION MARK}t,” he said—twenty-one!", ["don't", "he", "said", "twenty", "one"]),
        ("'Tis O'Neil's 'dog'", ["tis", "o'neil's", "dog"]),
        ("STRASSE straße ﬁn_e", ["strasse", "strasse", "fin", "e"]),
        (" … !", []),
        ("हिन्दी किताब", ["हिन्दी", "किताब"]),  # vowels are marks
        ("naïve nai\u0308ve", ["naïve", "naïve"]),
    ],
)
def test_words_are_compared_without_case_and_punctuation(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def counted_errors(said: list[str], found: list[str]) -> int:
    """Levenshtein's table, whole."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(found) + 1)] for i in range(len(said) + 1)]
    for i, one in enumerate(said, 1):
        for j, other in enumerate(found, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (one != other))
    return table[-1][-1]


def test_transcripts_and_rates_are_those_of_the_library(recogniser: Path, clips_16k: list[Tensor]) -> None:
    metric = WordErrorRate(recogniser)
    assert metric.unavailable() is None
    network = transformers.HubertForCTC.from_pretrained(recogniser).eval()

    def transcript(clip: Tensor) -> str:
        normal = (clip - clip.mean()) / torch.sqrt(clip.var(correction=0) + 1e-7)
        with torch.no_grad():
            return spelled(network(normal[None]).logits[0].argmax(-1).tolist())

    rates = set()
    for clip in clips_16k[:3]:
        degraded = noisy(clip, 0.05)
        found, original = transcript(degraded), transcript(clip)
        assert metric.transcribe(degraded) == found and len(found.split()) > 2
        scores = metric.score_with_text(clip, degraded, "Tone, ate\N{EM DASH}a net!")
        expected = counted_errors(["tone", "ate", "a", "net"], words(found))
        assert scores["wer"] == pytest.approx(100 * expected / 4) and scores["wer_words"] == 4
        changed = counted_errors(words(original), words(found))
        assert scores["wer_original"] == pytest.approx(100 * changed / len(words(original)))
        assert metric.score_with_text(clip, clip, "a")["wer_original"] == 0
        rates |= {scores["wer"], scores["wer_original"]}
    assert len(rates) > 3


def spelled(path: list[int]) -> str:
    """The text of a CTC path: repeats merged, then blanks dropped."""
    letters = [LETTERS[symbol] for symbol, _ in groupby(path)]
    return "".join(letter for letter in letters if not letter.startswith("<")).replace("|", " ").strip()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("O O N # N E # E", "onnee"),  # one letter twice has a blank between
        ("T O O | N O O O T E", "to note"),
        ("T O # O | | A T # E #", "too ate"),
        ("# # #", ""),
    ],
)
def test_letters_that_are_said_twice_are_two(
    path: str, text: str, recogniser: Path, clips_16k: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = WordErrorRate(recogniser)
    assert metric.unavailable() is None
    symbols = torch.tensor([LETTERS.index("<pad>" if letter == "#" else letter) for letter in path.split()])
    scores = torch.nn.functional.one_hot(symbols, len(LETTERS)).float()[None]  # (1, F, symbols)
    monkeypatch.setattr(metric._network, "forward", lambda _: SimpleNamespace(logits=scores))
    assert words(metric.transcribe(clips_16k[0])) == text.split()
    assert words(spelled(symbols.tolist())) == text.split()


def test_what_has_no_rate_says_why(recogniser: Path, clips_16k: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    metric = WordErrorRate(recogniser)
    assert metric.unavailable() is None
    clip = clips_16k[0]
    with pytest.raises(MetricError, match=r"^the manifest has no text$") as failed:
        metric.score(clip, noisy(clip))
    assert failed.value.scores.keys() == {"wer_original", "wer_original_words"}
    with pytest.raises(MetricError, match=r"^the text has no words$"):
        metric.score_with_text(clip, clip, "…!")
    with pytest.raises(MetricError, match=r"shorter than 0\.1 s"):
        metric.score_with_text(clip[:1599], clip[:1599], "to be")
    heard = iter(["", " "])  # of the reconstruction, then of the original
    monkeypatch.setattr(metric, "transcribe", lambda _: next(heard))
    with pytest.raises(MetricError, match=r"^nothing is recognised in the original$") as failed:
        metric.score_with_text(clip, clip, "to be")
    assert failed.value.scores == {"wer": 100.0, "wer_words": 2}  # all is deleted: that is a score


def test_similarity_is_the_cosine_of_the_librarys_vectors(speaker_network: Path, clips_16k: list[Tensor]) -> None:
    metric = SpeakerSimilarity(speaker_network)
    assert metric.unavailable() is None
    network = transformers.WavLMForXVector.from_pretrained(speaker_network).eval()
    for one, other in pairwise(clips_16k):
        with torch.no_grad():
            a, b = (network(clip[None]).embeddings[0] for clip in (one, other))
        score = metric.score(one, other)["speaker_similarity"]
        assert score == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-6) and score < 0.99999
        assert metric.score(one, one)["speaker_similarity"] == pytest.approx(1, abs=1e-12)
    silent, clip = torch.zeros(16_000), clips_16k[0]
    for pair, reason in (
        ((silent, clip), "the reference is silent"),
        ((clip, silent), "the reconstruction is silent"),
        ((clip[:5199], clip[:5199]), "shorter than 0.325 s"),
        ((clip, clip[:5199]), "shorter than 0.325 s"),
    ):
        with pytest.raises(MetricError, match=reason):
            metric.score(*pair)
    assert math.isfinite(metric.score(clip[:5200], clip[100:5300])["speaker_similarity"])
    second = SpeakerSimilarity(speaker_network, torch.device("cpu", 1))  # Accelerate's name of it in a second process
    assert second.unavailable() is None and second.score(clip, clips_16k[1]) == metric.score(clip, clips_16k[1])


def test_a_test_set_is_one_long_text(metrics: list[Metric], spoken: list[Utterance], tmp_path: Path) -> None:
    outcome = evaluate(NoisySystem(), spoken, metrics, tmp_path / "noisy")
    summary = summarize(NoisySystem(), outcome, "six")
    write_report(tmp_path / "noisy", summary)
    result = summary["metrics"]["wer"]
    assert (result["n_ok"], result["n_failed"]) == (4, 2)
    assert result["failures"] == {"the manifest has no text": 1, "the text has no words": 1}
    scored = [outcome.records[f"u{n}"].scores for n in (0, 1, 2, 5)]
    assert [s["wer_words"] for s in scored] == [2, 4, 1, 9]
    errors = sum(round(s["wer"] * s["wer_words"] / 100) for s in scored)
    assert result["mean"] == pytest.approx(100 * errors / 16)
    assert result["mean"] != pytest.approx(sum(s["wer"] for s in scored) / 4)
    assert result["ci95"][0] < result["mean"] < result["ci95"][1]
    assert "wer_words" not in summary["metrics"] and summary["definitions"]["wer"]["weight"] == "wer_words"
    assert len(summary["definitions"]["wer"]["weights_sha256"]) == 64
    assert summary["metrics"]["speaker_similarity"]["n_ok"] == 6
    assert summary["versions"]["transformers"] == transformers.__version__

    truth = evaluate(GroundTruth(RATE), spoken, metrics, tmp_path / "truth")
    write_report(tmp_path / "truth", summarize(GroundTruth(RATE), truth, "six"))
    found = {d.value: d for d in compare(*(Evaluation.read(tmp_path / name) for name in ("truth", "noisy")))}
    assert found["wer"].mean_b == pytest.approx(result["mean"])
    assert found["wer"].difference == pytest.approx(found["wer"].mean_b - found["wer"].mean_a)
    assert found["wer_original"].mean_a == 0
    assert found["wer_original"].mean_b == pytest.approx(summary["metrics"]["wer_original"]["mean"])


def test_nothing_is_scored_twice(metrics: list[Metric], spoken: list[Utterance], tmp_path: Path) -> None:
    evaluate(NoisySystem(), spoken, metrics, tmp_path)
    system = NoisySystem()
    evaluate(system, spoken, metrics, tmp_path)
    assert system.asked == []


def test_what_is_missing_is_said(
    recogniser: Path, speaker_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", tmp_path / "cache")

    def reason(metric: Metric) -> str:
        said = metric.unavailable()
        assert said is not None
        return said

    assert "facebook/hubert-large-ls960-ft is not on this machine; run codec fetch wer" in reason(WordErrorRate())
    assert reason(SpeakerSimilarity("me/mine")).endswith("run codec fetch sim --repository me/mine")
    assert "no such folder; give one, or a repository" in reason(WordErrorRate("/gone/far/away"))
    # A network without the head that counts would be filled up with random numbers.
    headless = tmp_path / "headless"
    shutil.copytree(recogniser, headless)
    transformers.HubertModel.from_pretrained(recogniser).save_pretrained(headless)
    assert re.search(r"no AutoModelForCTC: 2 weights missing \(lm_head", reason(WordErrorRate(headless)))
    assert "no AutoTokenizer" in reason(WordErrorRate(speaker_network))
    assert "AutoModelForAudioXVector cannot be loaded" in reason(SpeakerSimilarity(recogniser))
    narrow = save_speaker_network(tmp_path / "8k")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(narrow)
    assert "made for 8000 Hz, expected 16000 Hz" in reason(SpeakerSimilarity(narrow))
    damaged = save_speaker_network(tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded" in reason(SpeakerSimilarity(damaged))
    weights.unlink()
    assert "no weights" in reason(SpeakerSimilarity(damaged))

    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "transformers":
            raise ImportError
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    says = "pip install -e '.[eval]' in the checkout, or pip install transformers"
    assert says in reason(WordErrorRate(recogniser))
    assert says in reason(SpeakerSimilarity(speaker_network))
