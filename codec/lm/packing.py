"""Sequences for training: recordings end to end, cut into blocks, their order a pure function of seed and step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.errors import CodecError
from codec.lm.corpus import TokenCorpus
from codec.tokenstore.dataset import epoch_generator

IGNORED = -100  # a target that no loss is taken from, as torch and transformers have it


class Sequences(NamedTuple):
    """A batch of the network's inputs and what it should predict there."""

    inputs: Tensor  # (B, T) int64, codes and marks
    targets: Tensor  # (B, T) int64, the inputs one later; IGNORED where a recording has ended
    positions: Tensor  # (B, T) int64, from 0 anew at every recording


class PackedBlocks:
    """An endless row of blocks of ``context`` inputs.

    Each epoch shuffles the recordings, sets them end to end between their marks, and cuts the row into blocks, the rest
    of the last block dropped. A recording's later part thus begins a block in the midst of speech, as continuing does.
    ``positions`` start anew at each recording, which tells the network not to look across.

    Args:
        corpus: the recordings.
        context: T, inputs of a block.
        seed: of the order.

    Raises:
        CodecError: too few tokens for a block.
    """

    def __init__(self, corpus: TokenCorpus, context: int, seed: int) -> None:
        self.corpus, self.context, self.seed = corpus, context, seed
        marked = corpus.num_tokens + 2 * len(corpus)
        self.blocks_an_epoch = (marked - 1) // context
        if self.blocks_an_epoch == 0:
            raise CodecError(
                f"{marked} tokens with their marks do not fill one sequence of model.context={context}; give more "
                "speech or a shorter context"
            )
        self._epoch = -1
        self._order: list[int] = []
        self._stops = np.zeros(0, np.int64)

    def batch(self, first: int, count: int) -> Sequences:
        """Blocks ``first`` to ``first + count - 1`` of the endless row."""
        rows = torch.stack([self._block(first + number) for number in range(count)])  # (B, T + 1)
        inputs, targets = rows[:, :-1].contiguous(), rows[:, 1:].clone()
        begin = self.corpus.vocabulary.begin
        targets[targets == begin] = IGNORED  # what recording comes next is our shuffling
        steps = torch.arange(self.context).expand_as(inputs)
        starts = torch.where(inputs == begin, steps, 0).cummax(dim=1).values
        return Sequences(inputs, targets, steps - starts)

    def _block(self, number: int) -> Tensor:
        epoch, place = divmod(number, self.blocks_an_epoch)
        self._shuffle(epoch)
        start = place * self.context
        stop = start + self.context + 1
        own = int(np.searchsorted(self._stops, start, side="right"))
        parts, at = [], start
        while at < stop:
            marked = self.corpus.vocabulary.marked(self.corpus.recording(self._order[own]))
            offset = at - (int(self._stops[own]) - len(marked))
            part = marked[offset : offset + stop - at]
            parts.append(part)
            at += len(part)
            own += 1
        return torch.cat(parts)

    def _shuffle(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._order = torch.randperm(len(self.corpus), generator=epoch_generator(self.seed, epoch)).tolist()
        self._stops = np.cumsum(self.corpus.lengths[self._order] + 2)
        self._epoch = epoch
