"""A training run small enough to repeat often: a codec of a few thousand weights on a few real utterances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

import codec.audio as audio_io
from codec.config import RunConfig, load_run_config, merge
from codec.manifest import Utterance, write_manifest
from codec.training.trainer import Trainer

CORPUS = Path(__file__).parents[2] / "egs" / "mini" / "corpus"

SETTINGS: dict[str, Any] = {
    "model": {
        "encoder": {"channels": 2, "strides": [8, 5, 4, 2], "latent_dim": 8, "lstm_layers": 1},
        "quantizer": {"codebook_size": 32},
        "decoder": {
            "dim": 16,
            "hidden_dim": 16,
            "layers": 1,
            "residual_blocks": 1,
            "group_norm_groups": 4,
            "dropout": 0.1,  # random numbers are part of what resuming has to restore
        },
    },
    "discriminators": {
        "periods": [2, 3],
        "period_channels": [2, 4],
        "resolutions": [[256, 64, 256]],
        "resolution_channels": 2,
        "dac_periods": [5],
        "dac_period_channels": [2, 4],
        "dac_fft_sizes": [256],
        "dac_channels": 2,
    },
    "data": {"batch_size": 4, "crop_s": 0.1, "workers": 0, "validation_crop_s": 0.3, "validation_crops": 3},
    "optimizer": {"lr": 1e-3, "clip_norm": 10.0},
    "training": {
        "steps": 12,
        "log_every": 2,
        "validate_every": 6,
        "sample_every": 12,
        "samples": 1,
        "checkpoint_every": 6,
        "discriminator_start": 3,
        "bottleneck_warmup": {"share": 0.34, "init": "kmeans", "latents": 200},
    },
}


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten real utterances at 24 kHz."""
    path = tmp_path_factory.mktemp("data") / "dev.jsonl"
    utterances = []
    for file in sorted((CORPUS / "dev-mini").glob("**/*.flac")):
        info = audio_io.info(file)
        utterances.append(Utterance(file.stem, file, info.num_samples, info.sample_rate, file.parts[-3], "dev-mini"))
    assert len(utterances) == 10
    write_manifest(path, utterances)
    return path


@pytest.fixture
def make_config(manifest: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Settings of the small run, with changes on top; ``output`` is a folder below tmp_path."""

    def make(output: str = "run", **changes: Any) -> RunConfig:
        data = {"train": [str(manifest)], "validation": [str(manifest)]}
        settings = merge(merge(SETTINGS, {"data": data, "output": str(tmp_path / output)}), changes)
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return load_run_config(path)

    return make


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    """A trainer with an accelerator of its own, as in a process of its own."""

    def make(config: RunConfig, *, resume: bool = False) -> Trainer:
        for shared in (AcceleratorState, GradientState, PartialState):
            shared._reset_state()
        return Trainer(config, Accelerator(cpu=True, mixed_precision=config.training.mixed_precision), resume=resume)

    return make
