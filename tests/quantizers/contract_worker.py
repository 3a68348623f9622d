"""Small settings of every system, and one of the processes that train them together (test_contract.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from codec.config import ModelConfig
from codec.config.base import build
from codec.quantizers import Quantizer, build_quantizer
from codec.quantizers.processes import process_count, sum_over_processes

SETTINGS: dict[str, dict[str, Any]] = {
    "simvq": {},
    "simvq-dynamic-region": {"ste": "dynamic", "region": 1.0, "region_window": 2},
    "simvq-trainable": {"trainable_codebook": True, "bias": False},
    "vq": {"name": "vq"},
    "ema": {"name": "ema"},
    "jukebox": {"name": "jukebox"},
    "rotation": {"name": "rotation"},
    "factorized": {"name": "factorized", "codebook_dim": 4},
    "fsq": {"name": "fsq"},
    "lfq": {"name": "lfq"},
    "bsq": {"name": "bsq"},
    "residual": {"name": "residual"},
    "residual_simvq": {"name": "residual_simvq"},
    "huh": {"name": "huh", "affine_groups": 1},
    "huh-alternating": {"name": "huh", "affine_groups": 0, "alternate_lr": 2.0},
    "cvq": {"name": "cvq"},
    "cvq-closest": {"name": "cvq", "anchor": "closest"},
    "vqgan_lc": {"name": "vqgan_lc", "codebook_dim": 4},
    "dare": {"name": "dare", "window": 2},
    "sqvae": {"name": "sqvae"},
    "hqa": {"name": "hqa"},
    "vqwae": {"name": "vqwae"},
    "qinco": {"name": "qinco", "hidden_dim": 8},
    "scvae": {"name": "scvae", "gain_levels": 4},
}
SYSTEMS = list(SETTINGS)


def make(system: str, seed: int = 0, **changes: Any) -> Quantizer[Any]:
    """A system for latents of width 8, with 64 codes, started from normal latents."""
    config = build(ModelConfig, {"quantizer": {"codebook_size": 64, **SETTINGS[system], **changes}}).quantizer
    torch.manual_seed(seed)
    quantizer = build_quantizer(8, config)
    if config.codebook_size > 1:
        start = torch.randn(300, 8, generator=torch.Generator().manual_seed(seed + 100))
        quantizer.initialize(start, "covariance", torch.Generator().manual_seed(seed))
    return quantizer


def latents(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def state(quantizer: Quantizer[Any]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in quantizer.state_dict().items()}


def train_steps(quantizer: Quantizer[Any], batches: torch.Tensor) -> None:
    """Steps on (steps, B, D, F), each process on its share of B; gradients averaged as data-parallel training does."""
    quantizer.train()
    parameters = [p for p in quantizer.parameters() if p.requires_grad]
    rank = torch.distributed.get_rank() if process_count() > 1 else 0
    for step, batch in enumerate(batches):
        torch.manual_seed(step)
        latent = batch.chunk(process_count())[rank].clone().requires_grad_()
        out = quantizer(latent)
        ((out.quantized - 1).square().mean() + out.loss).backward()
        with torch.no_grad():
            for parameter in parameters:
                if parameter.grad is None:
                    continue
                parameter -= 0.05 * sum_over_processes(parameter.grad) / process_count()
                parameter.grad = None


def main(store: str, output: str, rank: int) -> None:
    """Train every system beside one other process and write what became of it."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    batches = torch.randn(3, 4, 8, 10, generator=torch.Generator().manual_seed(0))
    found = {}
    for system in SYSTEMS:
        quantizer = make(system)
        train_steps(quantizer, batches)
        found |= {f"{system}/{name}": value.clone() for name, value in quantizer.state_dict().items()}
    save_file(found, Path(output) / f"{rank}.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
