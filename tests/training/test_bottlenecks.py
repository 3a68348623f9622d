"""Every bottleneck trains in the codec, with the trainer as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import codec.audio as audio_io
from codec import Codec
from codec.config import RunConfig
from codec.quantizers import REGISTRY
from codec.training.ema import EMA
from codec.training.trainer import Trainer

CORPUS = Path(__file__).parents[2] / "egs" / "mini" / "corpus"
ALONE: dict[str, list[int]] = {"periods": [], "resolutions": [], "dac_periods": [], "dac_fft_sizes": []}


@pytest.mark.parametrize("system", list(REGISTRY))
def test_a_run_that_was_stopped_ends_like_one_that_was_not(
    system: str, make_config: Callable[..., RunConfig], make_trainer: Callable[..., Trainer]
) -> None:
    def settings(output: str) -> RunConfig:
        return make_config(
            output,
            model={"quantizer": {"name": system, "codebook_size": 64}},
            discriminators=ALONE,
            data={"validation_crops": 1},
            training={
                "steps": 8,
                "validate_every": 8,
                "checkpoint_every": 8,
                "sample_every": 8,
                "samples": 0,
                "bottleneck_warmup": {"share": 0.25, "init": "kmeans", "latents": 60},
            },
        )

    whole = make_trainer(settings("whole"))
    whole.fit()
    make_trainer(settings("parts")).fit(stop_at=5)
    parts = make_trainer(settings("parts"), resume=True)
    parts.fit()
    assert not int(whole.bad_steps.total)
    ends = zip(whole.ema.codec.state_dict().items(), parts.ema.codec.state_dict().values(), strict=True)
    for (name, value), resumed in ends:
        assert torch.equal(value, resumed), name

    codec = Codec.from_pretrained(whole.run / "best", device="cpu")
    assert codec.bitrate_bps == 75 * 6
    audio, rate = audio_io.read(next(CORPUS.glob("dev-mini/**/*.flac")))
    tokens = codec.encode(audio[..., :rate], rate)
    assert set(tokens.tokens.flatten().tolist()) <= set(range(64))
    assert bool(codec.decode(tokens).isfinite().all())


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({"name": "simvq"}, 0.9),  # weights: the first decay is (1 + 0) / (10 + 0)
        ({"name": "ema"}, 1.0),  # an average already, or a code that has jumped
        ({"name": "cvq"}, 1.0),
        ({"name": "residual", "codebook_size": 64}, 1.0),
        ({"name": "huh", "alternate_lr": 0.5}, 0.9),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_the_running_average_takes_over_what_moves_by_itself(
    make_config: Callable[..., RunConfig], settings: dict[str, Any], share: float
) -> None:
    codec: Any = Codec(make_config(model={"quantizer": settings}).model)
    average: Any = EMA(codec, decay=0.999)
    moved = [
        "quantizer.projection.weight" if settings["name"] == "simvq" else "quantizer.codebook",
        "encoder.out.conv.bias",
    ]
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    for _ in range(2):
        for name in moved:
            codec.state_dict()[name].add_(0.5)
    average.update(codec)
    for name, value in average.codec.state_dict().items():
        step = {moved[0]: share, moved[1]: 0.9}.get(name, 0.0)
        torch.testing.assert_close(value, before[name] + step if step else before[name], msg=name)
