"""Cases of test_pretended_device.py: runs that are cut and resumed, what begins from them, and language models."""

from __future__ import annotations

import pytest
import torch
from devices.conftest import MakeAccelerator, MakeConfig
from pretended import DEVICE, There, waits
from training.run_contents import lines, weights

from codec import Codec
from codec.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("pretending")
PROCESSOR = torch.device("cpu")
# Cut at a step of each kind: with discriminators and through a bottleneck that was set, between two looks.
SHORT = {
    "steps": 6,
    "log_every": 2,
    "validate_every": 6,
    "sample_every": 6,
    "checkpoint_every": 6,
    "discriminator_start": 1,
    "bottleneck_warmup": {"share": 0.34, "init": "covariance", "latents": 64},
}


def test_a_resumed_run_is_the_undisturbed_one(make_config: MakeConfig, accelerator_on: MakeAccelerator) -> None:
    """Bit for bit, dropout included, whose random numbers are the device's."""
    whole = Trainer(make_config("whole", training=SHORT), accelerator_on(DEVICE))
    whole.fit()
    config = make_config("cut", training=SHORT)
    Trainer(config, accelerator_on(DEVICE)).fit(stop_at=3)
    torch.rand(3, device=DEVICE)  # what came between must not matter
    resumed = Trainer(config, accelerator_on(DEVICE), resume=True)
    assert resumed.next_step == 3
    resumed.fit()
    one, other = weights(whole), weights(resumed)
    assert one.keys() == other.keys() and all(isinstance(value, There) for value in other.values())
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert lines(whole.run)[-1] == lines(resumed.run)[-1]
    # What it wrote there is a model for any machine, to begin from, too; and its checkpoint one to go on from.
    best = Codec.from_pretrained(resumed.run / "best", PROCESSOR).state_dict()
    assert all(torch.equal(value, one[f"ema.{name}"].here) for name, value in best.items())
    second = Trainer(make_config("second", training=SHORT, init_from=str(resumed.run / "last")), accelerator_on(DEVICE))
    assert all(torch.equal(one[f"ema.{name}"], value) for name, value in second.plain_codec.state_dict().items())
    config = make_config("cut", training={**SHORT, "steps": 8, "sample_every": 8})
    moved = Trainer(config, accelerator_on(PROCESSOR), resume=True)
    assert all(torch.equal(one[name].here, value) for name, value in weights(moved).items())
    moved.fit()
    assert moved.next_step == 8 and not moved.bad_steps.total
    back = Trainer(config, accelerator_on(DEVICE), resume=True)
    assert all(torch.equal(value.here, weights(moved)[name]) for name, value in weights(back).items())


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_the_host_waits_for_no_step(name: str, make_config: MakeConfig, accelerator_on: MakeAccelerator) -> None:
    """Neither in the warm-up nor through the bottleneck, with discriminators or without."""
    losses = {"normalize_commitment": True, "loudness": 0.5}
    optimizer = {"name": name, "clip_norm": 1.0}
    config = make_config("run", training={**SHORT, "discriminator_start": 2}, optimizer=optimizer, losses=losses)
    trainer = Trainer(config, accelerator_on(DEVICE))
    trainer.codec.train()
    batches = [batch.to(DEVICE) for batch in trainer._batches(0, 4)]
    assert waits  # of the batches, at least
    asked = []
    for step, batch in enumerate(batches):
        if step == trainer.warmup_steps:
            trainer._begin_quantizing()
        waits.clear()
        trainer.step([batch])
        asked.append(list(waits))
    assert asked == [[]] * 4 and trainer.warmup_steps == 2
