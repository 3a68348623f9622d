"""Steps of training at other rates; what the losses and discriminators look through follows from the rate."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from codec import Codec


@pytest.mark.parametrize(
    ("rate", "strides", "frame_rate"),
    [(16_000, [2, 4, 5, 8], 50), (24_000, [3, 5, 5, 8], 40), (48_000, [4, 4, 5, 8], 75)],
)
def test_a_run_at_another_rate(make_config, make_trainer, rate: int, strides: list[int], frame_rate: int) -> None:
    config = make_config(
        model={"sample_rate": rate, "encoder": {"strides": strides}},
        training={
            "steps": 3,
            "log_every": 1,
            "validate_every": 3,
            "checkpoint_every": 3,
            "sample_every": 3,
            "discriminator_start": 1,
            "bottleneck_warmup": {"share": 0.0},
        },
    )
    assert config.losses.mel_scales[0].n_fft == {16_000: 512, 24_000: 1024, 48_000: 2048}[rate]
    make_trainer(config).fit()
    lines = [json.loads(line) for line in (Path(config.output) / "metrics.jsonl").read_text().splitlines()]
    losses = [value for line in lines for key, value in line.items() if "mel" in key]
    assert len(losses) >= 3 and all(math.isfinite(loss) for loss in losses)
    assert Codec.from_pretrained(Path(config.output) / "last", "cpu").frame_rate == frame_rate
