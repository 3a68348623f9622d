"""One step of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codec import CodecError, RunConfig
from codec.training.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
MakeTrainer = Callable[..., Trainer]


@pytest.mark.parametrize(
    "settings",
    [{"name": "ema"}, {"name": "dare"}, {"name": "cvq"}, {"name": "huh", "alternate_lr": 1.0}, {"region": 1.0}],
    ids=str,
)
def test_a_bad_gradient_moves_nothing_of_bottlenecks_that_move_by_themselves(
    make_config: MakeConfig, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    """Latents are finite, so the bottleneck has moved by the time that the gradient turns out bad."""
    changes = {"bottleneck_warmup": {"share": 0.0}, "discriminator_start": 12}
    trainer = make_trainer(make_config(model={"quantizer": settings}, training=changes))
    trainer.codec.train()
    batches = trainer._batches(0, 3)
    trainer.step([next(batches)])
    before = {name: value.clone() for name, value in trainer.plain_codec.state_dict().items()}
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_clip", lambda module: torch.tensor(torch.nan))
        trainer.step([next(batches)])
    assert int(trainer.bad_steps) == 1
    state = trainer.plain_codec.state_dict()
    assert [name for name in before if not torch.equal(before[name], state[name])] == []
    trainer.step([next(batches)])
    assert int(trainer.bad_steps) == 1
    assert not all(torch.equal(before[name], value) for name, value in state.items() if name.startswith("quantizer."))


@pytest.mark.parametrize("settings", [{"name": "ema"}, {"name": "cvq"}, {"region": 1.0}], ids=str)
def test_bottlenecks_that_move_by_themselves_take_no_micro_batches(
    make_config: MakeConfig, make_trainer: MakeTrainer, settings: dict[str, object]
) -> None:
    config = make_config(model={"quantizer": settings}, training={"accumulate": 2})
    with pytest.raises(CodecError, match=rf"accumulate=2: .*name={settings.get('name', 'simvq')} .*accumulate=1"):
        make_trainer(config)
    assert not Path(config.output).exists()
