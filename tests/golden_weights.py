"""The made-up weights under which the golden values of tests/golden were computed (its README has the rule)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def golden_weight(name: str, shape: list[int], seed: int) -> torch.Tensor:
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape, dtype=np.float32)
    last = name.split(".")[-1]
    if last == "weight_g":
        noise = 1 + 0.1 * noise
    elif last == "weight_v":
        pass
    elif last.startswith("bias"):
        noise = 0.1 * noise
    elif last == "gamma":
        noise = 0.1 + 0.01 * noise
    elif len(shape) == 1:
        noise = 1 + 0.1 * noise
    elif name.endswith("quantize.embedding.weight"):
        noise = noise / np.sqrt(shape[1])
    elif name == "head.out.weight":
        noise = 0.02 * noise
    elif name.endswith("_codebook.embed"):
        noise = 0.4 * noise
    else:
        noise = noise / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(noise, dtype=np.float32))


def golden_state(keys_file: str, part: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every weight of a part ("generator", "objective") under its published name."""
    shapes = json.loads((GOLDEN / keys_file).read_text())[part]
    state = {name: golden_weight(name, shape, seed) for name, shape in shapes.items()}
    if "head.istft.window" in state:
        state["head.istft.window"] = torch.hann_window(len(state["head.istft.window"]))
    return state


def golden_values(file: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / file) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def relative_error(ours: torch.Tensor, golden: torch.Tensor) -> float:
    """||ours - golden|| / ||golden||."""
    assert ours.shape == golden.shape, (ours.shape, golden.shape)
    return float((ours.double() - golden.double()).norm() / golden.double().norm())
