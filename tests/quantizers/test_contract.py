"""One suite for every bottleneck of the registry, on the one contract (codec/quantizers/base.py)."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_worker import SETTINGS, SYSTEMS, latents, make, state, train_steps
from safetensors.torch import load, save

from codec.config import ModelConfig
from codec.config.base import build
from codec.quantizers import REGISTRY, Quantizer, build_quantizer
from codec.quantizers.base import join_digits, split_digits

ROOT = Path(__file__).parents[2]
# Where tokens -> latents -> tokens does not hold by definition: stages choose greedily, and a sum of codes may be
# nearer to another first code; maps out of a narrow space and back into it are no inverses of each other.
NO_ROUND_TRIP = {"residual", "residual_simvq", "factorized", "fsq", "lfq", "bsq", "vqgan_lc", "qinco", "scvae"}
# Each process draws its own noise: they stay together, and equal one process in distribution only.
SAMPLED = {"cvq", "sqvae", "hqa"}
MOVES_ITS_CODES = {"cvq", "cvq-closest"}  # weights that the forward pass changes too, as published

every_system = pytest.mark.parametrize("system", SYSTEMS)


def test_every_system_is_here() -> None:
    assert {SETTINGS[system].get("name", "simvq") for system in SYSTEMS} == set(REGISTRY)
    page = (ROOT / "docs" / "bottlenecks.md").read_text(encoding="utf-8")
    assert [system for system in REGISTRY if f"**{system}**" not in page] == []


# -- shapes and tokens ----------------------------------------------------------------------------------------------


@every_system
@pytest.mark.parametrize("rest", [(), (7,), (3, 5), (2, 3, 2)], ids=str)
def test_latents_of_any_rank(system: str, rest: tuple[int, ...]) -> None:
    quantizer = make(system).eval()
    latent = latents(2, 8, *rest)
    out = quantizer(latent)
    assert out.quantized.shape == latent.shape and out.quantized.dtype == torch.float32
    assert out.tokens.shape == (2, *rest) and out.tokens.dtype == torch.int64
    assert out.loss.shape == () and bool(out.loss.isfinite())
    tokens = quantizer.encode(latent)
    assert torch.equal(tokens, out.tokens)
    assert set(tokens.flatten().tolist()) <= set(range(quantizer.codebook_size))
    torch.testing.assert_close(quantizer.decode(tokens), out.quantized.detach(), rtol=1e-4, atol=1e-5)
    # Position by position: the same whatever stands beside it.
    first = (slice(None), slice(None), *(slice(0, 1) for _ in rest))
    assert torch.equal(quantizer.encode(latent[first]).flatten(), tokens.reshape(2, -1)[:, 0])


@pytest.mark.parametrize("system", [system for system in SYSTEMS if system not in NO_ROUND_TRIP])
def test_tokens_to_latents_to_tokens(system: str) -> None:
    quantizer = make(system).eval()
    tokens = torch.arange(quantizer.codebook_size).view(1, 2, -1)
    quantized = quantizer.decode(tokens)
    assert quantized.shape == (1, 8, *tokens.shape[1:])
    assert torch.equal(quantizer.encode(quantized), tokens)


@every_system
def test_the_rate_is_counted_whole(system: str) -> None:
    settings = {"quantizer": {**SETTINGS[system], "codebook_size": 64}}
    assert make(system).codebook_size == build(ModelConfig, settings).quantizer.codebook_size == 64


# -- learning -------------------------------------------------------------------------------------------------------


@every_system
def test_gradients_reach_what_should_learn_and_nothing_else(system: str) -> None:
    quantizer = make(system)
    before = state(quantizer)
    latent = latents(4, 8, 20).requires_grad_()
    out = quantizer(latent)
    ((out.quantized * latents(4, 8, 20, seed=1)).sum() + 10 * out.loss).backward()
    assert latent.grad is not None and bool(latent.grad.isfinite().all()) and bool(latent.grad.any())
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, f"{name}: data-parallel training would wait for it"
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), f"{name} learns nothing"
    for name, parameter in quantizer.named_parameters():
        assert system in MOVES_ITS_CODES or torch.equal(parameter, before[name]), f"{name} moved without the optimiser"


@every_system
def test_weights_and_what_moves_by_itself_are_the_whole_state(system: str) -> None:
    """The averaged twin gets parameters and moving buffers: with them it is the quantizer itself."""
    quantizer, twin = make(system), make(system).eval()
    train_steps(quantizer, latents(3, 4, 8, 10))
    with torch.no_grad():
        for ours, theirs in zip(_moving(twin), _moving(quantizer), strict=True):
            ours.copy_(theirs)
    latent = latents(2, 8, 40, seed=9)
    assert torch.equal(twin.encode(latent), quantizer.eval().encode(latent))
    assert torch.equal(twin.decode(twin.encode(latent)), quantizer.decode(quantizer.encode(latent)))


@every_system
def test_a_training_pass_moves_by_itself_what_it_says_and_nothing_else(system: str) -> None:
    """The trainer sets back these after a bad step, and takes no micro-batches where there are any."""
    quantizer = make(system).train()
    before = state(quantizer)
    moving = quantizer.self_moving()
    kept = [tensor.detach().clone() for tensor in moving]
    for seed in range(3):  # one beyond a window of two: what it counts is at 0 again after each of them
        quantizer(latents(4, 8, 10, seed=seed))
    assert not moving or not all(map(torch.equal, moving, kept))
    with torch.no_grad():
        for tensor, value in zip(moving, kept, strict=True):
            tensor.copy_(value)
    assert [name for name, value in state(quantizer).items() if not torch.equal(value, before[name])] == []
    wanted = {id(tensor) for tensor in quantizer.averaged_buffers()}
    assert wanted <= {id(tensor) for tensor in moving}


def _moving(quantizer: Quantizer[Any]) -> list[torch.Tensor]:
    return [*quantizer.parameters(), *quantizer.self_moving()]


@every_system
def test_training_lowers_the_error(system: str) -> None:
    quantizer = make(system)
    start = latents(4, 8, 100)
    quantizer.initialize(start.mT.flatten(0, 1), "kmeans", torch.Generator().manual_seed(0))
    quantizer.train()
    target = 0.5 * start + 1  # the encoder has moved on
    errors = []
    parameters = [p for p in quantizer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.02) if parameters else None
    with torch.no_grad():
        first = (quantizer.eval().decode(quantizer.encode(target)) - target).square().mean()
    quantizer.train()
    for step in range(60):
        torch.manual_seed(step)
        out = quantizer(target)
        loss = (out.quantized - target).square().mean() + out.loss
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors.append(loss.item())
    with torch.no_grad():
        last = (quantizer.eval().decode(quantizer.encode(target)) - target).square().mean()
    assert all(map(math.isfinite, errors))
    if parameters or quantizer.self_moving():
        assert last < first
    else:
        assert last == first  # nothing to learn: FSQ and its like


@every_system
def test_eval_mode_moves_nothing(system: str) -> None:
    quantizer = make(system).eval()
    before = state(quantizer)
    quantizer(latents(2, 8, 30))
    quantizer.encode(latents(2, 8, 30))
    assert all(torch.equal(value, before[name]) for name, value in state(quantizer).items())


@every_system
@pytest.mark.parametrize("method", ["covariance", "shrunk", "kmeans"])
def test_a_start_from_latents_fits_them_and_repeats_itself(system: str, method: str) -> None:
    rows = 3 * latents(500, 8) @ torch.diag(torch.logspace(0, -1, 8)) + 2
    found = []
    for _ in range(2):
        quantizer = make(system).eval()
        quantizer.initialize(rows, method, torch.Generator().manual_seed(0))
        found.append(state(quantizer))
        quantized = quantizer.decode(quantizer.encode(rows.T[None]))[0].T
        assert (quantized - rows).square().mean() < (rows - rows.mean(dim=0)).square().mean()
        assert len(quantizer.encode(rows.T[None]).unique()) > 8
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


@every_system
def test_save_and_load(system: str) -> None:
    quantizer = make(system)
    train_steps(quantizer, latents(3, 4, 8, 10))
    quantizer.eval()
    loaded = make(system, seed=5)
    loaded.load_state_dict(load(save({name: value.contiguous() for name, value in quantizer.state_dict().items()})))
    loaded.eval()
    latent = latents(2, 8, 40, seed=9)
    assert torch.equal(loaded.encode(latent), quantizer.encode(latent))
    assert torch.equal(loaded(latent).quantized, quantizer(latent).quantized)
    twin = copy.deepcopy(quantizer)
    assert torch.equal(twin.encode(latent), quantizer.encode(latent))
    with torch.device("meta"):  # how from_pretrained makes it
        empty = build_quantizer(
            8, build(ModelConfig, {"quantizer": {"codebook_size": 64, **SETTINGS[system]}}).quantizer
        )
    empty.load_state_dict(quantizer.state_dict(), assign=True)
    assert torch.equal(empty.eval().encode(latent), quantizer.encode(latent))


@every_system
@pytest.mark.parametrize("default", [torch.float64, torch.float16], ids=str)
def test_the_callers_default_type_changes_nothing(system: str, default: torch.dtype) -> None:
    quantizer = make(system).eval()
    latent = latents(2, 8, 40, seed=9)
    tokens, output = quantizer.encode(latent), quantizer(latent)
    decoded = quantizer.decode(tokens)
    torch.set_default_dtype(default)
    try:
        again = quantizer(latent)
        assert torch.equal(quantizer.encode(latent), tokens)
        torch.testing.assert_close(quantizer.decode(tokens), decoded, rtol=0, atol=0)  # types, too
        torch.testing.assert_close(again.quantized, output.quantized, rtol=0, atol=0)
        torch.testing.assert_close(again.loss, output.loss, rtol=0, atol=0)
    finally:
        torch.set_default_dtype(torch.float32)


@every_system
def test_float32_inside_autocast(system: str) -> None:
    """Half precision would change a part of the choices; nothing of it may reach the bottleneck."""
    quantizer = make(system).eval()
    latent = latents(4, 8, 500)
    plain = quantizer(latent)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = quantizer(latent)
        assert torch.equal(quantizer.encode(latent), plain.tokens)
        assert torch.equal(quantizer.decode(plain.tokens), quantizer.decode(plain.tokens.clone()))
    assert torch.equal(mixed.tokens, plain.tokens)
    assert mixed.quantized.dtype == torch.float32
    assert torch.equal(mixed.quantized, plain.quantized) and torch.equal(mixed.loss, plain.loss)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Gradients and codebooks after three steps on halves of the batch are those of one process on the whole."""
    store = tmp_path / "store"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).parent / "contract_worker.py"), str(store), str(tmp_path)]
    workers = [
        subprocess.Popen(
            [*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
        )
        for rank in range(2)
    ]
    output = [worker.communicate(timeout=200)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(output)
    results = [load((tmp_path / f"{rank}.safetensors").read_bytes()) for rank in range(2)]
    wrong = [name for name in results[0] if not torch.equal(results[0][name], results[1][name])]
    assert not wrong, f"processes have drifted apart: {wrong}"
    for system in SYSTEMS:
        quantizer = make(system)
        train_steps(quantizer, latents(3, 4, 8, 10))
        for name, value in state(quantizer).items() if system not in SAMPLED else ():
            found = results[0][f"{system}/{name}"]
            torch.testing.assert_close(
                found, value, rtol=1e-4, atol=1e-5, msg=lambda m, n=f"{system}/{name}": f"{n}: {m}"
            )


def test_digits_are_one_number_and_back() -> None:
    sizes = (3, 4, 2)
    index = torch.arange(24)
    digits = split_digits(index, sizes)
    assert torch.equal(join_digits(digits, sizes), index)
    assert digits[-1].tolist() == [2, 3, 1] and digits[8].tolist() == [1, 0, 0]


@every_system
@pytest.mark.parametrize("method", ["covariance", "kmeans"])
def test_a_new_start_knows_nothing_of_the_training_before(system: str, method: str) -> None:
    """Counters too: a model is saved with them, and its codebook may be set anew in the next run."""
    fresh = make(system)
    trained = copy.deepcopy(fresh).train()
    for _ in range(5):
        trained(latents(4, 8, 50))
    start = latents(300, 8)
    for quantizer in (fresh, trained):
        quantizer.initialize(start, method, torch.Generator().manual_seed(0))
    for ours, new in zip(trained.self_moving(), fresh.self_moving(), strict=True):
        torch.testing.assert_close(ours, new)
