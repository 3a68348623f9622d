"""Bits a token on recordings that the model has not seen, beside what knows no past."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from codec.lm.corpus import TokenCorpus
from codec.lm.network import LanguageModel
from codec.lm.packing import IGNORED, Sequences
from codec.quantizers.usage import CodeUsage

BATCH_POSITIONS = 8192  # of a pass
PRIOR_PAIRS = 16.0


@dataclass(frozen=True)
class Likelihood:
    """What a model finds recordings to cost, each alone, from its begin mark on."""

    recordings: int
    tokens: int
    token_bits: float  # of all tokens together
    end_bits: float  # of all end marks together

    @property
    def bits_a_token(self) -> float:
        """Cross-entropy; NaN without tokens. Marks are not in it."""
        return self.token_bits / self.tokens if self.tokens else math.nan


@torch.no_grad()
def measure_likelihood(lm: LanguageModel, corpus: TokenCorpus, rank: int = 0, world: int = 1) -> Likelihood:
    """Score every ``world``-th recording from ``rank`` on.

    A recording that the context does not hold goes through in windows that overlap by half: every token is predicted
    once, from at least half a context of its past where the recording has so much.
    """
    training = lm.training
    lm.eval()
    places = range(rank, len(corpus), world)
    windows = [window for place in places for window in _windows(lm, corpus.recording(place))]
    sums = torch.zeros(2, dtype=torch.float64)  # of all, of the ends
    for sequences in _batches(windows):
        losses = lm(Sequences(*(part.to(lm.device) for part in sequences))).cpu().double()  # MPS has no float64
        sums += torch.stack([losses.sum(), losses[sequences.targets == lm.vocabulary.end].sum()])
    lm.train(training)
    total, ends = (sums / math.log(2)).tolist()
    return Likelihood(len(places), int(corpus.lengths[rank::world].sum()), total - ends, ends)


def _windows(lm: LanguageModel, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    marked = lm.vocabulary.marked(tokens)
    inputs, targets = marked[:-1], marked[1:]
    if len(inputs) <= lm.context:
        yield inputs, targets
        return
    step = lm.context // 2
    done = 0  # targets that an earlier window has predicted
    for start in range(0, len(inputs), step):
        stop = min(start + lm.context, len(inputs))
        own = targets[start:stop].clone()
        own[: done - start] = IGNORED
        yield inputs[start:stop], own
        done = stop
        if stop == len(inputs):
            return


def _batches(windows: list[tuple[Tensor, Tensor]]) -> Iterator[Sequences]:
    windows = sorted(windows, key=lambda window: -len(window[0]))
    while windows:
        count = max(1, BATCH_POSITIONS // len(windows[0][0]))
        batch, windows = windows[:count], windows[count:]
        # Padding comes last, where a causal model cannot see it.
        inputs = pad_sequence([window[0] for window in batch], batch_first=True)
        targets = pad_sequence([window[1] for window in batch], batch_first=True, padding_value=IGNORED)
        yield Sequences(inputs, targets, torch.arange(inputs.shape[1]).expand_as(inputs))


def entropy_bits(corpus: TokenCorpus) -> float:
    """Order-0 entropy of the tokens' own distribution, bits a token.

    What a coder would need that knows the past of nothing, but the counts of these very recordings. Low for few tokens:
    n of them cannot show more than log2 n bits.
    """
    usage = CodeUsage(corpus.model.codebook_size)
    counts = corpus.counts()
    codes = counts.nonzero()[:, 0]
    usage.update(codes, counts[codes])
    return usage.summary()["entropy_bits"]


def order0_bits(corpus: TokenCorpus, training: TokenCorpus) -> float:
    """Bits a token of a coder that knows how often each code came in ``training``, and nothing of the past.

    The fair opponent of a model that learned from the same speech. Every code counts half an occurrence more than it
    had (Krichevsky and Trofimov 1981), so that none is impossible.
    """
    held_out = corpus.counts().double()
    return float((held_out * -_shares(training).log2()).sum() / held_out.sum())


def order1_bits(corpus: TokenCorpus, training: TokenCorpus) -> float:
    """The same of a coder that knows the last token: how often each code followed it in ``training``.

    What is seen too seldom is filled up from order 0, as if ``PRIOR_PAIRS`` more pairs had been drawn from it (MacKay
    and Peto 1995). A model that beats it has learned more than which code follows which.
    """
    shares = _shares(training)
    seen, times = np.unique(np.concatenate([_pairs(training), [-1]]), return_counts=True)  # -1: never asked for
    befores = torch.zeros(len(shares), dtype=torch.float64)
    for place in range(len(training)):
        befores += torch.bincount(training.recording(place)[:-1], minlength=len(shares))
    asked = _pairs(corpus)
    found = np.searchsorted(seen, asked).clip(max=len(seen) - 1)
    followed = torch.from_numpy(np.where(seen[found] == asked, times[found], 0))
    before, after = (torch.from_numpy(part) for part in np.divmod(asked, len(shares)))
    chances = (followed + PRIOR_PAIRS * shares[after]) / (befores[before] + PRIOR_PAIRS)
    firsts = torch.stack([corpus.recording(place)[0] for place in range(len(corpus))])
    return -float(chances.log2().sum() + shares[firsts].log2().sum()) / corpus.num_tokens


def _shares(training: TokenCorpus) -> Tensor:
    counts = training.counts().double() + 0.5
    return counts / counts.sum()


def _pairs(corpus: TokenCorpus) -> np.ndarray:
    """Neighbours within a recording, as one number each: first * K + second."""
    recordings = (corpus.recording(place).numpy() for place in range(len(corpus)))
    return np.concatenate([own[:-1] * corpus.model.codebook_size + own[1:] for own in recordings])
