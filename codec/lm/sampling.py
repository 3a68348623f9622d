"""New tokens from a language model: from nothing, or on from a prompt."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from codec.config.base import NonNegative, NonNegativeFloat, PositiveFloat, Settings
from codec.devices import seeded
from codec.errors import CodecError
from codec.lm.network import LanguageModel
from codec.tensors import as_token_ids

TOGETHER = 16  # recordings sampled in one batch
LEAST_TEMPERATURE = 1e-6  # below it a logit is divided out of float32; the likeliest token has been certain for long


class SamplingConfig(Settings):
    """How a token is drawn from the model's distribution."""

    temperature: NonNegativeFloat = 1.0  # below 1: likelier tokens more often; 0: always the likeliest
    top_k: NonNegative = 0  # only the k likeliest; 0: all
    top_p: PositiveFloat = 1.0  # only the likeliest that together have this probability; 1: all
    seed: Annotated[int, Field(ge=0, lt=1 << 64)] = 0  # what torch's generators take


class Sample(NamedTuple):
    """A recording that nobody spoke."""

    tokens: Tensor  # (F,) int64, the prompt first, without marks
    ended: bool  # by the model's end mark, rather than by the limit


def sample(lm: LanguageModel, prompt: Tensor, count: int, num_tokens: int, config: SamplingConfig) -> list[Sample]:
    """Draw ``count`` continuations. The same settings on the same machine give the same tokens.

    Args:
        lm: in eval mode.
        prompt: (P,) int64 codes; none of them: from the begin mark alone.
        count: how many.
        num_tokens: new ones at most, from 1 on.
        config: temperature and the like.

    Raises:
        CodecError: no or more tokens than the model's context, a prompt of another shape or type, tokens outside its
            codebook, or settings out of range.
    """
    vocabulary = lm.vocabulary
    prompt = as_token_ids(prompt, 1)
    if num_tokens < 1:
        raise CodecError(f"num_tokens={num_tokens}: expected 1 or more new tokens")
    if not 0 < config.top_p <= 1:
        raise CodecError(f"top_p={config.top_p}: expected a probability above 0, up to 1")
    if len(prompt) and not 0 <= int(prompt.min()) <= int(prompt.max()) < vocabulary.codebook_size:
        raise CodecError(
            f"the prompt has tokens from {int(prompt.min())} to {int(prompt.max())}, the model speaks 0 to "
            f"{vocabulary.codebook_size - 1}; encode it with codec {lm.codec.fingerprint} ({lm.codec.name})"
        )
    room = lm.context - 1 - len(prompt)
    if num_tokens > room:
        rate = lm.codec.frame_rate
        raise CodecError(
            f"{num_tokens} new tokens behind {len(prompt)} of a prompt: the model's context of {lm.context} has room "
            f"for {max(0, room)} ({max(0, room) / rate:.2f} s); ask for less, shorten the prompt, or train with a "
            "larger model.context"
        )
    greedy = config.temperature < LEAST_TEMPERATURE
    start = torch.cat([torch.tensor([vocabulary.begin]), prompt.cpu()]).unsqueeze(0).to(lm.device)  # (1, P + 1)
    samples: list[Sample] = []
    with seeded(config.seed, lm.device):
        while len(samples) < count:
            rows = lm.llama.generate(  # type: ignore[misc]  # a mixin's method, which its stub types by a protocol
                start,
                attention_mask=torch.ones_like(start),
                do_sample=True,
                temperature=1.0 if greedy else config.temperature,
                top_k=1 if greedy else config.top_k,
                top_p=config.top_p,
                max_new_tokens=num_tokens,
                min_new_tokens=0 if len(prompt) else 1,  # no tokens are no audio
                suppress_tokens=[vocabulary.begin],
                pad_token_id=vocabulary.end,
                num_return_sequences=min(TOGETHER, count - len(samples)),
            )
            samples += [_without_marks(row[1:].cpu(), vocabulary.end) for row in rows]
    return samples


def _without_marks(row: Tensor, end: int) -> Sample:
    ends = (row == end).nonzero()
    return Sample(row[: int(ends[0])], True) if len(ends) else Sample(row, False)
