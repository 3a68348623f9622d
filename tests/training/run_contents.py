"""What a run has written and what its weights are, for comparing two of them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from codec.training.trainer import Trainer

TIMING = ("audio_s_per_s", "time_s")


def lines(run: Path) -> list[dict[str, object]]:
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key not in TIMING} for entry in entries]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    state = {f"codec.{name}": value for name, value in trainer.plain_codec.state_dict().items()}
    state |= {f"disc.{name}": value for name, value in trainer.plain_discriminators.state_dict().items()}
    return state | {f"ema.{name}": value for name, value in trainer.ema.codec.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []
