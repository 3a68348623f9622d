"""A token dataset that has something to learn, and settings of a few thousand weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codec.config import build
from codec.config.lm import LMConfig
from codec.lm.corpus import TokenCorpus
from codec.lm.network import LanguageModel, build_language_model
from codec.tokenstore import Index, Model, Shard

K = 16
LENGTHS = (1, 5, 40, 23, 9, 60, 31, 12)
CODEC = Model("tiny", "0123456789abcdef", K, 24_000, 320)

MakeTokens = Callable[..., Path]


def counting(length: int, first: int) -> np.ndarray:
    """Each token is its predecessor plus 3: all codes equally often, and no doubt about the next."""
    return (first + 3 * np.arange(length)) % K


@pytest.fixture
def make_tokens(tmp_path: Path) -> MakeTokens:
    """Writes a dataset in the jsonl format, as recipes/tokenize.py would."""

    def make(name: str = "tokens", model: Model = CODEC, recordings: list[np.ndarray] | None = None) -> Path:
        import json

        folder = tmp_path / name
        folder.mkdir(parents=True)
        if recordings is None:
            recordings = [counting(length, number) for number, length in enumerate(LENGTHS)]
        facts: dict[str, Any] = {"text": None, "speaker": "", "split": ""}
        lines = [
            {"id": f"r{number}", "num_samples": 320 * len(own), "num_tokens": len(own), **facts, "tokens": own.tolist()}
            for number, own in enumerate(recordings)
        ]
        path = folder / "tokens-00000.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        total = sum(map(len, recordings))
        shard = Shard(path.name, len(recordings), total, 320 * total, path.stat().st_size)
        Index("jsonl", model, (shard,), K, 4.0).write(folder)
        return folder

    return make


@pytest.fixture
def corpus(make_tokens: MakeTokens) -> TokenCorpus:
    return TokenCorpus([make_tokens()])


@pytest.fixture
def settings(make_tokens: MakeTokens, tmp_path: Path) -> Callable[..., LMConfig]:
    """Settings over one dataset, with changes a section."""
    folder = str(make_tokens("train"))

    def make(output: str = "run", **changes: dict[str, Any]) -> LMConfig:
        sections: dict[str, dict[str, Any]] = {
            "model": {"context": 24, "layers": 1, "dim": 16, "heads": 2, "mlp_dim": 32, "loss_chunk": 20},
            "data": {"train": [folder], "validation": [folder], "batch_size": 2},
            "optimizer": {"lr": 1e-2, "warmup_steps": 2},
            "training": {"steps": 6, "log_every": 1, "validate_every": 2, "checkpoint_every": 2},
        }
        merged = {name: {**values, **changes.get(name, {})} for name, values in sections.items()}
        return build(LMConfig, {"output": str(tmp_path / output), **merged})

    return make


@pytest.fixture
def lm(settings: Callable[..., LMConfig]) -> LanguageModel:
    """Random weights, large enough that the network does not find everything equally likely."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = build_language_model(settings().model, CODEC).eval()
        for parameter in lm.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.5)
    return lm
