"""Word error rate: what a speech recogniser makes of a reconstruction, against what is said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from codec.evaluation import hub
from codec.evaluation.metric import MetricError, Value
from codec.evaluation.network_metric import NetworkMetric

SHORTEST_S = 0.1  # the convolutions of wav2vec 2.0 and its like need 25 ms


class WordErrorRate(NetworkMetric):
    """Substituted, deleted and inserted words over words said, in per cent, of any CTC model of ``transformers``.

    ``wer``: against the manifest's text. ``wer_original``: against the transcript that the same recogniser makes of the
    original, which needs no text and counts only what the codec has changed. Both sides are normalised alike
    (:func:`words`). Decoding is greedy, without language model; one utterance at a time, nothing padded. Means are over
    all words together. An empty transcript of a reconstruction is a score: every word is deleted.

    Args:
        recogniser: folder, or repository in the hub's cache; None: the default.
        device: of the network.
    """

    name: ClassVar[str] = "wer"
    values: ClassVar[Mapping[str, Value]] = {
        "wer": Value("WER, of the text", "lower", "%", digits=2, weight="wer_words"),
        "wer_original": Value("WER, of the original's transcript", "lower", "%", digits=2, weight="wer_original_words"),
    }
    counts: ClassVar[tuple[str, ...]] = ("wer_words", "wer_original_words")
    sample_rate: ClassVar[int] = 16_000
    needs_text: ClassVar[bool] = True
    definition: ClassVar[int] = 2  # 1: of two equal letters in a row one was lost, and marks parted words

    def __init__(self, recogniser: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        super().__init__(recogniser or hub.REPOSITORIES["wer"], device)

    def _load(self) -> None:
        library = hub.transformers()
        folder = hub.find(self._source, "wer")
        self._extractor = hub.load_settings(library.AutoFeatureExtractor, folder)
        self._tokenizer = hub.load_settings(library.AutoTokenizer, folder)
        hub.check_rate(self._extractor.sampling_rate, self.sample_rate, folder)
        self.weights = hub.fingerprint(folder)
        self._network = hub.load(library.AutoModelForCTC, folder, self._device)

    @torch.inference_mode()
    def transcribe(self, audio: Tensor) -> str:
        """Transcript of (T,) float32 at 16 kHz, as the recogniser writes it.

        Raises:
            MetricError: shorter than 0.1 s.
        """
        assert self._network is not None, "unavailable() comes first"
        if audio.shape[-1] < SHORTEST_S * self.sample_rate:
            raise MetricError(f"shorter than {SHORTEST_S:g} s")
        features = self._extractor(audio.numpy(), sampling_rate=self.sample_rate, return_tensors="pt")
        scores = self._network(features.input_values.to(self._device)).logits[0]  # (F, symbols)
        # Merged here: decode() drops the blank before it merges what repeats, which makes one L of the two of "all".
        path = torch.unique_consecutive(scores.argmax(-1).cpu())
        path = path[path != self._network.config.pad_token_id]  # the blank (Graves et al. 2006)
        return self._tokenizer.decode(path, skip_special_tokens=True, group_tokens=False)

    def score(self, reference: Tensor, degraded: Tensor) -> dict[str, float]:
        """See :meth:`Metric.score`."""
        return self.score_with_text(reference, degraded, None)

    def score_with_text(self, reference: Tensor, degraded: Tensor, text: str | None) -> dict[str, float]:
        """See :meth:`Metric.score_with_text`."""
        found, original = words(self.transcribe(degraded)), words(self.transcribe(reference))
        scores: dict[str, float] = {}
        reasons = []
        if text is None:
            reasons.append("the manifest has no text")
        elif said := words(text):
            scores |= {"wer": _rate(said, found), "wer_words": len(said)}
        else:
            reasons.append("the text has no words")
        if original:
            scores |= {"wer_original": _rate(original, found), "wer_original_words": len(original)}
        else:
            reasons.append("nothing is recognised in the original")
        if reasons:
            raise MetricError("; ".join(reasons), scores)
        return scores


def words(text: str) -> list[str]:
    """Words as they are compared: NFKC forms, small letters, no punctuation; what a hyphen joins is two.

    An apostrophe stays within a word, as do marks above and below letters (vowels of Hindi and Arabic). Numbers and
    abbreviations are not written out: LibriTTS's normalised texts, which its manifests have, are already.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    kept = "".join(letter if unicodedata.category(letter)[0] in "LMN" or letter == "'" else " " for letter in plain)
    return re.findall(r"[^\s']+(?:'[^\s']+)*", kept)


def _rate(said: list[str], found: list[str]) -> float:
    return 100 * Levenshtein.distance(said, found) / len(said)
