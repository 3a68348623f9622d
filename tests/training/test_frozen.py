"""``training.frozen``: parts that a run leaves as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from codec import Codec, CodecError
from codec.config import RunConfig
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]
ALONE: dict[str, list[int]] = {"periods": [], "resolutions": [], "dac_periods": [], "dac_fft_sizes": []}
# What moves by itself, each in its own way.
MOVING: dict[str, dict[str, Any]] = {
    "ema": {},
    "jukebox": {},
    "dare": {"window": 1},
    "cvq": {},
    "sqvae": {},
    "residual": {"codebook_size": 1024},
    "huh": {"alternate_lr": 1.0},
    "simvq": {"region": 1.0, "ste": "dynamic"},
}


def changed_parts(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}


def short(**training: Any) -> dict[str, Any]:
    once = {"steps": 4, "validate_every": 4, "checkpoint_every": 4, "sample_every": 4, "samples": 0}
    return {**once, "discriminator_start": 1, "bottleneck_warmup": {"share": 0.0}, **training}


@pytest.mark.parametrize(
    ("frozen", "name"),
    [(["encoder", "quantizer"], "adam"), (["encoder", "decoder"], "adam"), (["decoder"], "muon")],
    ids=["a new decoder", "a new bottleneck", "a new encoder"],
)
def test_what_is_frozen_stays_and_the_rest_learns(
    frozen: list[str], name: str, make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    optimizer = {"name": name, "weight_decay": 0.1, "lr": 1e-2}
    trainer = make_trainer(make_config(training=short(frozen=frozen), optimizer=optimizer))
    before = {key: value.clone() for key, value in trainer.plain_codec.state_dict().items()}
    tokens = trainer.plain_codec.token_fingerprint
    trainer.fit()
    assert not int(trainer.bad_steps.total)
    expected = {"encoder", "quantizer", "decoder"} - set(frozen)
    assert changed_parts(before, trainer.plain_codec.state_dict()) == expected
    assert changed_parts(before, trainer.ema.codec.state_dict()) == expected
    assert trainer.ema.codec.decodes(tokens) == (expected == {"decoder"})
    assert all(
        weight.grad is None for part in frozen for weight in trainer.plain_codec.get_submodule(part).parameters()
    )


@pytest.mark.parametrize("system", list(MOVING))
def test_codes_that_move_by_themselves_stay_too(
    system: str, make_config: MakeConfig, make_trainer: MakeTrainer
) -> None:
    quantizer = {"name": system, **MOVING[system]}
    config = make_config(
        model={"quantizer": quantizer}, discriminators=ALONE, training=short(frozen=["encoder", "quantizer"])
    )
    trainer = make_trainer(config)
    before = {key: value.clone() for key, value in trainer.plain_codec.state_dict().items()}
    trainer.fit()
    assert changed_parts(before, trainer.plain_codec.state_dict()) == {"decoder"}
    assert changed_parts(before, trainer.ema.codec.state_dict()) == {"decoder"}


def test_tokens_mean_what_they_meant_to_a_decoder_that_learns_alone(
    make_config: MakeConfig, make_trainer: MakeTrainer, speech: Tensor, tmp_path: Path
) -> None:
    config = make_config(training=short())
    torch.manual_seed(0)
    before = Codec(config.model).eval()
    before.save_pretrained(tmp_path / "before")
    changes = {"init_from": str(tmp_path / "before"), "discriminators": ALONE}
    tuned = make_trainer(
        make_config(**changes, training=short(frozen=["encoder", "quantizer"], mixed_precision="bf16"))
    )
    tuned.fit()
    after = Codec.from_pretrained(tuned.run / "best", device="cpu")
    tokens = before.encode(speech[:24_000])
    assert torch.equal(after.encode(speech[:24_000]).tokens, tokens.tokens)
    assert not torch.equal(after.decode(tokens), before.decode(tokens))


def test_what_is_frozen_may_change_on_the_way(make_config: MakeConfig, make_trainer: MakeTrainer) -> None:
    """A codebook is set under a frozen encoder; then all of the codec learns."""
    settings = {"bottleneck_warmup": {"share": 0.5, "init": "kmeans", "latents": 100}}
    first = make_trainer(make_config(discriminators=ALONE, training=short(frozen=["encoder"], **settings)))
    start = {key: value.clone() for key, value in first.plain_codec.state_dict().items()}
    first.fit(stop_at=3)
    middle = first.plain_codec.state_dict()
    assert changed_parts(start, middle) == {"quantizer", "decoder"}
    rest = make_trainer(make_config(discriminators=ALONE, training=short(**settings)), resume=True)
    rest.fit()
    assert changed_parts(middle, rest.plain_codec.state_dict()) == {"encoder", "quantizer", "decoder"}


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"frozen": ["encoder", "quantizer", "decoder"]}, "each part once, and not all of them"),
        ({"frozen": ["encoder", "encoder"]}, "each part once"),
        ({"frozen": ["head"]}, "input should be 'encoder', 'quantizer' or 'decoder'"),
        ({"frozen": ["quantizer"]}, "share=0.34 would set the codebook anew; set it to 0.0"),
    ],
)
def test_mistakes_are_named(make_config: MakeConfig, training: dict[str, Any], says: str) -> None:
    with pytest.raises(CodecError) as error:
        make_config(training=training)
    assert says in str(error.value)
