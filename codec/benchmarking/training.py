"""A trainer that needs no corpus: for timing whole steps."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

import codec.audio as audio_io
from codec.config import RunConfig, build, merge
from codec.manifest import Utterance, write_manifest
from codec.training.trainer import Trainer


def make_trainer(config: RunConfig, folder: Path, batch: int, crop_s: float, *, cpu: bool = False) -> Trainer:
    """A trainer at ``batch`` crops of ``crop_s`` seconds, through the bottleneck and with discriminators at once.

    Args:
        config: sizes, objective and precision.
        folder: scratch; gets a recording of noise, a manifest and the run.
        batch: crops a step.
        crop_s: seconds.
        cpu: not on a GPU, though there may be one.
    """
    recording, manifest = folder / "noise.wav", folder / "noise.jsonl"
    rate = config.model.sample_rate
    audio_io.write(recording, 0.1 * torch.randn(rate), rate)
    write_manifest(manifest, [Utterance("noise", recording, rate, rate)])
    fixed = {
        "output": str(folder / "run"),
        "data": {"train": [str(manifest)], "validation": [], "batch_size": batch, "crop_s": crop_s},
        "training": {"discriminator_start": 0, "bottleneck_warmup": {"share": 0.0}},
    }
    settings = build(RunConfig, merge(config.model_dump(mode="json"), fixed))
    trainer = Trainer(settings, Accelerator(mixed_precision=settings.training.mixed_precision, cpu=cpu))
    trainer.codec.train()
    return trainer


def crops(trainer: Trainer, seed: int = 0) -> Tensor:
    """Noise in the place of a batch, (B, 1, T), on the trainer's device."""
    data, rate = trainer.config.data, trainer.config.model.sample_rate
    noise = torch.randn(data.batch_size, 1, round(data.crop_s * rate), generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise.to(trainer.accelerator.device)
