"""Every bottleneck with too little, too much or nothing to quantise, on the one contract (codec/quantizers/base.py)."""

from __future__ import annotations

import math

import pytest
import torch
from contract_worker import SETTINGS, SYSTEMS, latents, make, state

from codec.config import ModelConfig
from codec.config.base import build
from codec.errors import CodecError
from codec.quantizers import build_quantizer

every_system = pytest.mark.parametrize("system", SYSTEMS)


@every_system
def test_one_code(system: str) -> None:
    """K = 1 works, all tokens 0; systems whose codes are levels, signs or gains refuse it in words."""
    if SETTINGS[system].get("name") in ("fsq", "lfq", "bsq", "scvae"):
        with pytest.raises(CodecError, match="codebook_size=1"):
            make(system, codebook_size=1)
        return
    quantizer = make(system, codebook_size=1)
    out = quantizer(latents(2, 8, 5).requires_grad_())
    assert not out.tokens.any() and bool(out.loss.isfinite())
    (out.loss + out.quantized.sum()).backward()
    for method in ("covariance", "shrunk", "kmeans"):
        quantizer.initialize(latents(50, 8), method, torch.Generator().manual_seed(0))
        assert bool(quantizer.decode(torch.zeros(1, 3, dtype=torch.int64)).isfinite().all())


@every_system
@pytest.mark.parametrize("method", ["covariance", "shrunk", "kmeans"])
def test_more_codes_than_latents(system: str, method: str) -> None:
    quantizer = make(system, codebook_size=4096)
    quantizer.initialize(latents(10, 8), method, torch.Generator().manual_seed(0))
    out = quantizer(latents(1, 8, 3).requires_grad_())
    (out.loss + out.quantized.sum()).backward()
    assert all(bool(value.isfinite().all()) for value in quantizer.state_dict().values())
    assert bool(out.quantized.isfinite().all())


@every_system
def test_no_latents(system: str) -> None:
    quantizer = make(system)
    before = state(quantizer)
    out = quantizer(torch.zeros(2, 8, 0, requires_grad=True))
    assert out.quantized.shape == (2, 8, 0) and out.tokens.shape == (2, 0) and out.loss.item() == 0
    assert quantizer.encode(torch.zeros(0, 8, 5)).shape == (0, 5)
    assert quantizer.decode(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 8, 0)
    assert all(torch.equal(value, before[name]) for name, value in state(quantizer).items())
    with pytest.raises(CodecError, match="no latents to start"):
        quantizer.initialize(torch.zeros(0, 8), "kmeans", torch.Generator())


@every_system
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_identical_latents(system: str, value: float) -> None:
    quantizer = make(system)
    latent = torch.full((2, 8, 9), value, requires_grad=True)
    out = quantizer(latent)
    (out.loss + out.quantized.sum()).backward()
    assert bool(out.loss.isfinite()) and latent.grad is not None and bool(latent.grad.isfinite().all())
    for parameter in quantizer.parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all())
    assert len(quantizer.eval().encode(latent.detach()).unique()) == 1
    for method in ("covariance", "shrunk", "kmeans"):
        quantizer.initialize(torch.full((40, 8), value), method, torch.Generator().manual_seed(0))
        quantized = quantizer.decode(quantizer.encode(latent.detach()))
        assert bool(quantized.isfinite().all())


@every_system
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_latents_that_are_not_numbers(system: str, bad: float) -> None:
    quantizer = make(system)
    latent = latents(2, 8, 6)
    plain = quantizer.eval().encode(latent)
    broken = latent.clone()
    broken[0, 3, 2] = bad
    tokens = quantizer.encode(broken)
    assert tokens[0, 2] == 0
    keep = torch.ones_like(tokens, dtype=torch.bool)
    keep[0, 2] = False
    assert torch.equal(tokens[keep], plain[keep])

    before = state(quantizer.train())
    out = quantizer(broken.requires_grad_())
    assert set(out.tokens.flatten().tolist()) <= set(range(quantizer.codebook_size))
    assert not bool((out.loss + out.quantized.sum()).isfinite())  # the trainer takes no such step
    assert all(torch.equal(value, before[name]) for name, value in state(quantizer).items())
    with pytest.raises(CodecError, match="NaN or infinite"):
        quantizer.initialize(broken.detach().mT.flatten(0, 1), "kmeans", torch.Generator())


@every_system
@pytest.mark.parametrize("dim", [1, 7])
def test_any_width(system: str, dim: int) -> None:
    """No system asks that the width can be divided, or that it has as many dimensions as it needs itself."""
    config = build(ModelConfig, {"quantizer": {"codebook_size": 64, **SETTINGS[system]}}).quantizer
    torch.manual_seed(0)
    quantizer = build_quantizer(dim, config)
    quantizer.initialize(latents(300, dim), "kmeans", torch.Generator().manual_seed(0))
    latent = latents(2, dim, 9).requires_grad_()
    out = quantizer(latent)
    (out.loss + out.quantized.square().sum()).backward()
    assert latent.grad is not None and bool(latent.grad.isfinite().all()) and bool(latent.grad.any())
    tokens = quantizer.eval().encode(latent.detach())
    quantized = quantizer.decode(tokens)
    assert quantized.shape == (2, dim, 9) and bool(quantized.isfinite().all())
    assert (quantized - latent).square().mean() < latent.var()


@every_system
def test_latents_of_another_width(system: str) -> None:
    quantizer = make(system)
    for call in (quantizer, quantizer.encode):
        with pytest.raises(CodecError, match=r"latents of shape \(2, 7, 5\): expected \(B, 8, \.\.\.\)"):
            call(torch.zeros(2, 7, 5))


def test_jukebox_moves_nothing_though_the_code_of_bad_latents_is_rare() -> None:
    """They count for code 0, which is then restarted: what is not finite would be gone before it is looked for."""
    torch.manual_seed(0)
    quantizer = make("jukebox").train()
    quantizer.counts.fill_(10.0)
    quantizer.counts[0] = 0
    before = state(quantizer)
    rows = latents(1, 8, 200)
    rows[0, 0, :1] = float("nan")
    quantizer(rows)
    assert all(torch.equal(value, before[name]) for name, value in state(quantizer).items())


def test_no_more_levels_than_the_bound_of_fsq_keeps_apart() -> None:
    settings = {"name": "fsq", "codebook_size": 1000, "levels": [1000]}
    quantizer = build_quantizer(1, build(ModelConfig, {"quantizer": settings}).quantizer)
    tokens = quantizer.encode(torch.tensor([[[-1e4, 1e4]]]))
    assert 0 <= int(tokens.min()) <= int(tokens.max()) <= 999
    with pytest.raises(CodecError, match=r"less than or equal to 1000"):
        build(ModelConfig, {"quantizer": {"name": "fsq", "codebook_size": 1024, "levels": [1024]}})
