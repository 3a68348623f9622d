"""Samples come from the model's distribution, between the marks, and again from the same seed."""

from __future__ import annotations

import pytest
import torch

from codec.config import build
from codec.errors import CodecError
from codec.lm.network import LanguageModel
from codec.lm.sampling import SamplingConfig, sample

NOTHING = torch.zeros(0, dtype=torch.int64)


def test_samples_are_codes_prompt_first_and_repeat_with_the_seed(lm: LanguageModel) -> None:
    prompt = torch.tensor([1, 4, 7])
    state = torch.random.get_rng_state()
    first, again, other = (sample(lm, prompt, 20, 10, SamplingConfig(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's draws are its own
    assert [own.tokens.tolist() for own in first] == [own.tokens.tolist() for own in again]
    assert [own.tokens.tolist() for own in first] != [own.tokens.tolist() for own in other]
    assert len(first) == 20
    for tokens, ended in first:
        assert tokens[:3].tolist() == [1, 4, 7]
        assert int(tokens.max()) < 16
        assert ended or len(tokens) == 13


def test_the_first_token_is_drawn_from_the_models_distribution(lm: LanguageModel) -> None:
    with torch.no_grad():
        logits = lm.llama(input_ids=torch.tensor([[lm.vocabulary.begin]])).logits[0, -1, :16]
    drawn = torch.tensor([int(own.tokens[0]) for own in sample(lm, NOTHING, 2000, 1, SamplingConfig())])
    share = torch.bincount(drawn, minlength=16) / 2000
    # No marks: a begin makes no sense there, an end would be a recording without audio. 0.05 is over four deviations.
    assert float((share - logits.softmax(0)).abs().max()) < 0.05


def test_the_likeliest_alone_where_k_is_one(lm: LanguageModel) -> None:
    samples = sample(lm, torch.tensor([2]), 5, 8, SamplingConfig(top_k=1))
    assert len({tuple(own.tokens.tolist()) for own in samples}) == 1


def test_no_temperature_is_too_low_for_the_likeliest(lm: LanguageModel) -> None:
    """At 1e-38 logits were divided out of float32, which was a traceback of torch; 0 is what others call greedy."""
    (likeliest,) = sample(lm, torch.tensor([2]), 1, 8, SamplingConfig(top_k=1))
    for temperature in (0.0, 1e-45, 1e-38, 1e-5):
        for own in sample(lm, torch.tensor([2]), 3, 8, SamplingConfig(temperature=temperature)):
            assert own.tokens.tolist() == likeliest.tokens.tolist()


def test_bad_input_is_one_line(lm: LanguageModel) -> None:
    with pytest.raises(CodecError, match=r"context of 24 has room for 20 \(0.27 s\)"):
        sample(lm, torch.tensor([1, 2, 3]), 1, 21, SamplingConfig())
    with pytest.raises(CodecError, match="the prompt has tokens from 1 to 16, the model speaks 0 to 15"):
        sample(lm, torch.tensor([1, 16]), 1, 4, SamplingConfig())
    with pytest.raises(CodecError, match=r"top_p=1.5: expected a probability"):
        sample(lm, NOTHING, 1, 4, SamplingConfig(top_p=1.5))
    with pytest.raises(CodecError, match="temperature"):
        build(SamplingConfig, {"temperature": -0.1})
    with pytest.raises(CodecError, match="seed"):
        build(SamplingConfig, {"seed": 1 << 64})
    for num_tokens in (0, -1):
        with pytest.raises(CodecError, match=f"num_tokens={num_tokens}: expected 1 or more"):
            sample(lm, NOTHING, 1, num_tokens, SamplingConfig())
    for prompt in (torch.tensor([[1, 2]]), torch.tensor([1.0])):  # the first as Codec.encode gives them
        with pytest.raises(CodecError, match=r"tokens of shape .*: expected integers \(F,\)"):
            sample(lm, prompt, 1, 4, SamplingConfig())
