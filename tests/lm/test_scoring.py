"""Bits a token: against a count by hand, and whatever the windows and processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from codec.lm.corpus import TokenCorpus
from codec.lm.network import LanguageModel
from codec.lm.scoring import entropy_bits, measure_likelihood, order0_bits, order1_bits


@torch.no_grad()
def bits_by_hand(lm: LanguageModel, marked: list[int]) -> list[float]:
    """-log2 p of each from its whole past."""
    bits = []
    for at in range(1, len(marked)):
        logits = lm.llama(input_ids=torch.tensor([marked[:at]])).logits[0, -1]
        bits.append(-float(logits.log_softmax(0)[marked[at]]) / math.log(2))
    return bits


def test_short_recordings_are_scored_from_all_their_past(lm: LanguageModel, make_tokens) -> None:
    recordings = [np.array(own) for own in ([3], [1, 2, 3, 4, 5], list(range(16)) + [0] * 6, [7] * 11)]
    corpus = TokenCorpus([make_tokens("held-out", recordings=recordings)])
    found = measure_likelihood(lm, corpus)
    bits = [bits_by_hand(lm, corpus.vocabulary.marked(torch.tensor(own)).tolist()) for own in recordings]
    assert found.recordings == 4
    assert found.tokens == sum(map(len, recordings))
    assert found.token_bits == pytest.approx(sum(sum(own[:-1]) for own in bits), rel=1e-5)
    assert found.end_bits == pytest.approx(sum(own[-1] for own in bits), rel=1e-5)
    assert found.bits_a_token == pytest.approx(found.token_bits / found.tokens)


def test_long_recordings_are_scored_in_windows_that_overlap_by_half(lm: LanguageModel, make_tokens) -> None:
    tokens = np.random.default_rng(0).integers(0, 16, 61)
    corpus = TokenCorpus([make_tokens("held-out", recordings=[tokens])])
    marked = corpus.vocabulary.marked(torch.from_numpy(tokens)).tolist()
    context = lm.context
    wanted = bits_by_hand(lm, marked[: context + 1])
    while len(wanted) < len(marked) - 1:
        start = len(wanted) - context // 2
        wanted += bits_by_hand(lm, marked[start : start + context + 1])[context // 2 :]
    found = measure_likelihood(lm, corpus)
    assert found.token_bits + found.end_bits == pytest.approx(sum(wanted), rel=1e-5)


def test_processes_share_the_recordings(lm: LanguageModel, corpus: TokenCorpus) -> None:
    whole = measure_likelihood(lm, corpus)
    parts = [measure_likelihood(lm, corpus, rank, 3) for rank in range(3)]
    for name in ("recordings", "tokens", "token_bits", "end_bits"):
        assert sum(getattr(part, name) for part in parts) == pytest.approx(getattr(whole, name), rel=1e-6)


def test_order_0(make_tokens) -> None:
    held_out = TokenCorpus([make_tokens("held-out", recordings=[np.array([0, 0, 1, 2])])])
    training = TokenCorpus([make_tokens("other", recordings=[np.array([0, 0, 0, 1])])])
    assert entropy_bits(held_out) == pytest.approx(1.5)
    total = 4 + 16 / 2
    wanted = -(2 * math.log2(3.5 / total) + math.log2(1.5 / total) + math.log2(0.5 / total)) / 4
    assert order0_bits(held_out, training) == pytest.approx(wanted)


def test_order_1(make_tokens) -> None:
    held_out = TokenCorpus([make_tokens("held-out", recordings=[np.array([1, 0, 1, 15]), np.array([15])])])
    training = TokenCorpus([make_tokens("other", recordings=[np.array([0, 1, 0, 2]), np.array([0])])])
    # 0 was followed by 1 and 2, 1 by 0, 15 by nothing; nothing follows the end of a recording.
    share = {code: (times + 0.5) / (5 + 8) for code, times in {0: 3, 1: 1, 15: 0}.items()}
    chances = [
        share[1],
        (1 + 16 * share[0]) / (1 + 16),
        (1 + 16 * share[1]) / (2 + 16),
        (0 + 16 * share[15]) / (1 + 16),
        share[15],
    ]
    assert order1_bits(held_out, training) == pytest.approx(-sum(map(math.log2, chances)) / 5)
