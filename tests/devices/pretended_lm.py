"""Cases of test_pretended_device.py: language models are trained, resumed, scored and sampled from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from devices.conftest import MakeAccelerator
from pretended import BACKEND, DEVICE, There
from torch import Tensor

from codec.config.lm import LMConfig
from codec.lm.corpus import TokenCorpus
from codec.lm.network import LanguageModel
from codec.lm.sampling import SamplingConfig, sample
from codec.lm.scoring import measure_likelihood
from codec.lm.trainer import LMTrainer

pytest_plugins = ["lm.conftest"]
pytestmark = pytest.mark.usefixtures("pretending")
PROCESSOR = torch.device("cpu")
UNTIED = {"tie_embeddings": False}  # moving to the device makes two of one weight there
Settings = Callable[..., LMConfig]


def weights(trainer: LMTrainer) -> dict[str, Tensor]:
    return {name: getattr(weight, "here", weight).clone() for name, weight in trainer.plain_lm.state_dict().items()}


def test_a_language_model_is_trained_there_as_on_the_processor(
    settings: Settings, accelerator_on: MakeAccelerator
) -> None:
    start, ends = {}, []
    for name, place in (("processor", PROCESSOR), ("device", DEVICE)):
        config = settings(name, model=UNTIED, training={"accumulate": 2})
        trainer = LMTrainer(config, accelerator_on(place))
        start = weights(trainer)
        trainer.fit()
        assert all(isinstance(weight, There) == (place is DEVICE) for weight in trainer.lm.parameters())
        ends.append((weights(trainer), trainer.best))
    (one, best), (other, best_there) = ends
    assert best_there == pytest.approx(best, rel=1e-4)
    for name, value in one.items():
        moved = float((value - start[name]).norm())
        assert moved > 0 and float((other[name] - value).norm()) < 0.02 * moved, name


def test_a_resumed_language_model_is_the_undisturbed_one(settings: Settings, accelerator_on: MakeAccelerator) -> None:
    """Bit for bit, dropout included; and the model that it leaves is one for any machine, to begin from, too."""
    model = {**UNTIED, "attention_dropout": 0.2}
    whole = LMTrainer(settings("whole", model=model), accelerator_on(DEVICE))
    whole.fit()
    config = settings("cut", model=model)
    LMTrainer(config, accelerator_on(DEVICE)).fit(stop_at=3)
    torch.rand(3, device=DEVICE)  # what came between must not matter
    resumed = LMTrainer(config, accelerator_on(DEVICE), resume=True)
    assert resumed.next_step == 3
    resumed.fit()
    one, other = weights(whole), weights(resumed)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    kept = LanguageModel.from_pretrained(resumed.run / "last", PROCESSOR).state_dict()
    assert all(torch.equal(value, one[name]) for name, value in kept.items())
    config = settings("next", model=model).model_copy(update={"init_from": str(resumed.run / "last")})
    assert all(
        torch.equal(value, one[name]) for name, value in weights(LMTrainer(config, accelerator_on(DEVICE))).items()
    )


def test_recordings_cost_what_they_cost_on_the_processor(lm: LanguageModel, corpus: TokenCorpus) -> None:
    here = measure_likelihood(lm, corpus)
    there = measure_likelihood(lm.to(DEVICE), corpus)
    assert (there.recordings, there.tokens) == (here.recordings, here.tokens)
    assert there.token_bits == pytest.approx(here.token_bits, rel=1e-5)
    assert there.end_bits == pytest.approx(here.end_bits, rel=1e-5)


def test_samples_repeat_with_the_seed_and_leave_the_devices_numbers_alone(lm: LanguageModel) -> None:
    prompt = torch.tensor([1, 4, 7])
    likeliest = SamplingConfig(temperature=0.0)
    expected = sample(lm, prompt, 1, 12, likeliest)
    lm.to(DEVICE)
    states = BACKEND.get_rng_state(), torch.get_rng_state()
    found = sample(lm, prompt.to(DEVICE), 1, 12, likeliest)
    first, again, other = (sample(lm, prompt, 18, 8, SamplingConfig(seed=seed, top_p=0.9)) for seed in (0, 0, 1))
    assert torch.equal(BACKEND.get_rng_state(), states[0]) and torch.equal(torch.get_rng_state(), states[1])
    assert found[0].tokens.device == PROCESSOR and found[0].tokens.tolist() == expected[0].tokens.tolist()
    drawn = [[own.tokens.tolist() for own in samples] for samples in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 18
