"""What each system does that the others do not, against its equations or another implementation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from contract_worker import make
from scipy.optimize import linprog
from torch.nn import functional as F
from vector_quantize_pytorch import FSQ as LibraryFSQ  # noqa: N811
from vector_quantize_pytorch import LFQ as LibraryLFQ  # noqa: N811
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

from codec.config import CVQConfig, DAReConfig, EMAConfig, FSQConfig
from codec.quantizers.codebook import nearest_rows
from codec.quantizers.cvq import CVQ
from codec.quantizers.dare import DAReVQ
from codec.quantizers.ema import EMAVQ
from codec.quantizers.fsq import FSQ
from codec.quantizers.rotation import rotated
from codec.quantizers.wae import transport_plan


def rows(count: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_ema_follows_its_equations() -> None:
    torch.manual_seed(0)
    quantizer = EMAVQ(8, EMAConfig(codebook_size=6, decay=0.9))
    codes, n = quantizer.codebook.clone(), torch.ones(6)
    s = codes.clone()
    for step in range(4):
        z = rows(20, seed=step)
        chosen = torch.cdist(z, codes).argmin(dim=1)
        out = quantizer(z)
        assert torch.equal(out.tokens, chosen)
        torch.testing.assert_close(out.loss, 0.25 * (z - codes[chosen]).square().mean())
        for k in range(6):
            n[k] = 0.9 * n[k] + 0.1 * (chosen == k).sum()
            s[k] = 0.9 * s[k] + 0.1 * z[chosen == k].sum(dim=0)
        codes = s / ((n + 1e-5) / (n.sum() + 6e-5) * n.sum()).unsqueeze(1)
        torch.testing.assert_close(quantizer.codebook, codes)


@pytest.mark.parametrize("system", ["jukebox", "dare", "cvq", "cvq-closest"])
def test_codes_that_nobody_chooses_come_back(system: str) -> None:
    """All codes but one far away: an ordinary codebook would use that one for ever."""
    latent = rows(400).T.unsqueeze(0) + 3
    used = {}
    for name in ("ema" if system in ("jukebox", "dare") else "vq", system):
        quantizer = make(name)
        with torch.no_grad():
            quantizer.codebook.sub_(50)
            quantizer.codebook[0] = 3
        for _ in range(150):
            quantizer(latent)
        used[name] = len(quantizer.eval().encode(latent).unique())
    assert min(used.values()) == 1 and used[system] > 5  # all run after the one closest latent, with "closest"


@pytest.mark.parametrize("system", ["jukebox", "residual"])
def test_codes_restart_at_once_where_latents_are_few(system: str) -> None:
    """1,024 codes of a stage, 32 latents a step: no code keeps its place unchosen, most latents find one nearby."""
    quantizer = make(system, codebook_size=1024 if system == "jukebox" else 1024**2)
    with torch.no_grad():
        quantizer.codebook.sub_(50)
        quantizer.sums.copy_(quantizer.codebook * quantizer.counts.unsqueeze(1))
    for step in range(40):
        quantizer(rows(32, seed=step))
        assert quantizer.codebook.amin() > -10  # at most the first step's average is left of where a code began
    error = (quantizer.eval()(rows(200, seed=99)).quantized - rows(200, seed=99)).square().mean()
    assert error < 0.5  # 1 is the latents' variance


def test_a_code_in_even_use_stays_whatever_the_number_of_latents() -> None:
    """Each step chooses half of the codes, and all of them in turn: n is near 1, far above the threshold."""
    for repeats in (1, 40):
        quantizer = make("jukebox", codebook_size=8)
        places = 10 * torch.eye(8)
        for buffer, value in (
            (quantizer.codebook, places),
            (quantizer.sums, places),
            (quantizer.counts, torch.ones(8)),
        ):
            buffer.copy_(value)
        for step in range(400):
            quantizer(places[step % 2 :: 2].repeat(repeats, 1))
        torch.testing.assert_close(quantizer.codebook, places)
        assert (quantizer.counts - 1).abs().max() < 0.05


def test_huhs_own_step_is_that_of_sgd_on_the_affine_codes() -> None:
    quantizer = make("huh", codebook_size=8, alternate_lr=0.5, affine_groups=2, affine_lr=4.0)
    with torch.no_grad():
        quantizer.scale.copy_(0.3 * rows(2, 8))
        quantizer.shift.copy_(0.1 * rows(2, 8, seed=1))
    codes = quantizer.codebook.clone().requires_grad_()
    z, velocity = rows(50, 8, seed=2), torch.zeros(8, 8)
    for _ in range(3):
        slope, shift = 1 + 4 * quantizer.scale.detach(), 4 * quantizer.shift.detach()
        affine = slope.repeat_interleave(4, dim=0) * codes + shift.repeat_interleave(4, dim=0)
        chosen = (z.unsqueeze(1) - affine).square().sum(dim=2).argmin(dim=1)
        (gradient,) = torch.autograd.grad((affine[chosen] - z).square().mean(), codes)
        velocity = 0.9 * velocity + gradient
        codes = (codes - 0.5 * velocity).detach().requires_grad_()
        quantizer(z)
        torch.testing.assert_close(quantizer.codebook, codes.detach())


def test_dare_splits_the_costliest_cluster() -> None:
    quantizer: Any = make("dare", codebook_size=4, window=1)
    quantizer.codebook.copy_(torch.tensor([[0.0], [10.0], [100.0], [200.0]]).expand(4, 8))
    quantizer.sums.copy_(quantizer.codebook)
    wide, narrow = 3 * rows(50), 0.01 * rows(50) + 10
    quantizer(torch.cat([wide, narrow]))
    codes = quantizer.codebook[:, :].mean(dim=1)
    assert (codes[:2] - torch.tensor([0.0, 10.0])).abs().max() < 1
    assert (
        codes[2].abs() < 0.6 and (codes[3] - 10).abs() < 0.01
    )  # the first joins the wide cluster, the next the narrow
    assert quantizer.counts[0] == pytest.approx(quantizer.counts[2]) and not quantizer.hits.any()


def test_codes_that_dare_splits_off_are_chosen_in_many_dimensions() -> None:
    """Latents of 16 places in 128 dimensions, of which five vary within a place; all start in one code."""
    quantizer: Any = DAReVQ(128, DAReConfig(codebook_size=256, window=1))
    quantizer.codebook.sub_(100)
    quantizer.codebook[0] = 0
    quantizer.sums.copy_(quantizer.codebook)
    torch.manual_seed(0)
    places, directions = rows(16, 128, seed=1), rows(5, 128, seed=2)

    def drawn(step: int) -> torch.Tensor:
        return places.repeat(40, 1) + 0.3 * rows(640, 5, seed=step) @ directions

    for step in range(100):
        quantizer(drawn(step))
    assert len(quantizer.eval()(drawn(1000)).tokens.unique()) > 128


def test_cvqs_draw_is_a_draw_whatever_the_latents_scale() -> None:
    """Of 200 latents of variance 1 in 128 dimensions, a thousand unused codes at one place take many."""
    quantizer: Any = CVQ(128, CVQConfig(codebook_size=1000))
    with torch.no_grad():
        quantizer.codebook.copy_(100 + rows(1, 128, seed=5).expand(1000, 128))
        quantizer.codebook[0] = 0
    torch.manual_seed(0)
    quantizer(rows(200, 128))
    assert len(quantizer.codebook.detach()[1:].round(decimals=1).unique(dim=0)) > 150


def test_nearest_rows_far_from_the_origin() -> None:
    codes, z = 3000 + rows(500, 32), 3000 + rows(300, 32, seed=1)
    expected = torch.cdist(z.double(), codes.double()).argmin(dim=1)
    assert torch.equal(nearest_rows(z, codes), expected)


def test_fsq_gives_the_librarys_codes() -> None:
    levels = (8, 5, 4)
    ours, theirs = FSQ(3, FSQConfig(codebook_size=160, levels=levels)), LibraryFSQ(list(levels))
    for map_ in (ours.projections.inward, ours.projections.outward):
        map_.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})
    z = 2 * rows(300, 3)
    mine = z.clone().requires_grad_()
    other = z.clone().requires_grad_()
    out, (codes, _) = ours(mine), theirs(other.unsqueeze(0))
    torch.testing.assert_close(out.quantized, codes[0])
    weights = rows(300, 3, seed=1)
    (out.quantized * weights).sum().backward()
    (codes[0] * weights).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad)
    assert len(ours.decode(torch.arange(160)).unique(dim=0)) == 160


def test_fsq_chooses_levels_for_powers_of_two() -> None:
    for bits in range(2, 19):
        sizes = FSQConfig(codebook_size=2**bits).level_sizes
        assert math.prod(sizes) == 2**bits and set(sizes) <= {4, 8}


@pytest.mark.parametrize("system", ["lfq", "bsq"])
def test_lfq_entropies_are_those_over_all_codes(system: str) -> None:
    quantizer: Any = make(system, temperature=0.7)
    z = quantizer._inward(rows(40))
    decided, even = quantizer._entropies(z)
    codes = quantizer.size * torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)))
    p = (2 * z @ codes.T / 0.7).softmax(dim=1)  # -|z - q|^2 / temperature, up to a constant
    torch.testing.assert_close(decided, -(p * p.clamp(min=1e-30).log()).sum(dim=1).mean(), rtol=1e-3, atol=1e-3)
    mean = p.mean(dim=0)
    assert even >= -(mean * mean.log()).sum() - 1e-4  # bit by bit is an upper bound


@pytest.mark.parametrize("spherical", [False, True])
def test_lfq_gives_the_librarys_tokens_and_codes(spherical: bool) -> None:
    ours: Any = make("bsq" if spherical else "lfq")
    theirs = LibraryLFQ(codebook_size=64, dim=6, spherical=spherical).eval()
    z = ours.projections.inward(rows(50))
    codes, tokens, _ = theirs(z.unsqueeze(0))
    assert torch.equal(ours.encode(rows(50)), tokens[0].long())
    torch.testing.assert_close(ours.decode(tokens[0].long()), ours.projections.outward(codes[0]))


def test_the_rotation_is_the_librarys() -> None:
    z, q, weights = rows(30), rows(30, seed=1), rows(30, seed=2)
    gradients = []
    for function in (rotated, rotate_to):
        latent = z.clone().requires_grad_()
        out = function(latent, q)
        torch.testing.assert_close(out, q, rtol=1e-4, atol=1e-5)
        (out * weights).sum().backward()
        gradients.append(latent.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(gradients[0], weights)  # straight through would be this


def test_sinkhorn_comes_near_the_exact_transport() -> None:
    cost = torch.cdist(rows(12, 2), rows(6, 2, seed=1)).square()
    plan = transport_plan(cost, entropy=0.01, iterations=500)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((12,), 1 / 12))
    torch.testing.assert_close(plan.sum(dim=0), torch.full((6,), 1 / 6), rtol=1e-2, atol=1e-4)
    sums = torch.cat([torch.eye(12).repeat_interleave(6, dim=1), torch.eye(6).repeat(1, 12)])
    exact = linprog(cost.flatten(), A_eq=sums, b_eq=[1 / 12] * 12 + [1 / 6] * 6)
    assert float((plan * cost).sum()) == pytest.approx(exact.fun, rel=0.05)


def test_vqwae_pays_the_transport() -> None:
    quantizer: Any = make("vqwae", commitment=0.5)
    z = rows(30)
    cost = torch.cdist(z, quantizer.codebook.detach()).square()
    plan = transport_plan(cost, quantizer.config.entropy, quantizer.config.iterations)
    torch.testing.assert_close(quantizer(z).loss, 0.5 * (plan * cost).sum() / 8)


def test_sqvae_loss_in_loops() -> None:
    quantizer: Any = make("sqvae", weight=1.0).eval()
    z, codes = rows(5), quantizer.codebook.detach()
    variance = quantizer.log_variance.exp().item()
    total = 0.0
    for latent in z:
        distance = (latent - codes).square().sum(dim=1)
        p = (-distance / (2 * variance)).softmax(dim=0)
        total += float((p * p.log()).sum() + distance.min() / (2 * variance))
    assert float(quantizer(z).loss.detach()) == pytest.approx(total / 5, rel=1e-4)


@pytest.mark.parametrize("system", ["residual", "residual_simvq", "qinco"])
def test_each_stage_leaves_less(system: str) -> None:
    latents = rows(600)
    quantizer: Any = make(system).eval()
    quantizer.initialize(latents, "kmeans", torch.Generator().manual_seed(0))
    whole = (quantizer.decode(quantizer.encode(latents)) - latents).square().mean()
    single: Any = make("vq", codebook_size=8).eval()
    single.initialize(latents, "kmeans", torch.Generator().manual_seed(0))
    first = (single.decode(single.encode(latents)) - latents).square().mean()
    assert whole < 0.9 * first


def test_huh_moves_codes_that_nobody_chose() -> None:
    quantizer: Any = make("huh")
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    before = quantizer.decode(torch.arange(64)).detach()
    out = quantizer(rows(3) + 1)
    (out.loss + 0 * out.quantized.sum()).backward()
    optimizer.step()
    after = quantizer.decode(torch.arange(64)).detach()
    assert bool((after != before).any(dim=1).all())  # scale and shift are everybody's


def test_huh_synchronised_update_reaches_the_codes() -> None:
    weights = rows(10, seed=3)
    for sync in (0.0, 0.5):
        quantizer: Any = make("huh", affine_groups=0, sync=sync)
        out = quantizer(rows(10))
        (out.quantized * weights).sum().backward()
        expected = torch.zeros(64, 8).index_add_(0, out.tokens, sync * weights)
        gradient = quantizer.codebook.grad
        torch.testing.assert_close(torch.zeros(64, 8) if gradient is None else gradient, expected)


def test_cvq_leaves_well_used_codes_alone() -> None:
    quantizer: Any = make("cvq-closest", codebook_size=2)
    quantizer.codebook.data.copy_(torch.tensor([[0.0], [9.0]]).expand(2, 8))
    z = 0.1 * rows(40)
    quantizer(z)
    # p of the code in use is 0.01: its pace is exp(-10 K p / 0.01), next to nothing.
    torch.testing.assert_close(quantizer.shares, torch.tensor([0.01, 0.0]))
    torch.testing.assert_close(quantizer.codebook[0].detach(), torch.zeros(8))
    far = torch.full((8,), 9.0)
    closest = z[torch.cdist(far.unsqueeze(0), z).argmin()]
    torch.testing.assert_close(quantizer.codebook[1].detach(), torch.lerp(far, closest, math.exp(-1e-3)))


def test_scvae_tokens_are_atom_and_gain() -> None:
    quantizer: Any = make("scvae").eval()
    with torch.no_grad():
        quantizer.gains.copy_(torch.tensor([-2.0, -1.0, 1.0, 2.0]))
        token = torch.tensor([5 * 4 + 3])
        torch.testing.assert_close(quantizer.decode(token), quantizer.center + 2 * quantizer.dictionary[5:6])
        sparse = quantizer._sparse(rows(20))
        z = rows(20) - quantizer.center
        objective = [
            float((z - a @ quantizer.dictionary).square().sum() / 2) for a in (torch.zeros_like(sparse), sparse)
        ]
        assert objective[1] < 0.5 * objective[0]
        assert (F.normalize(quantizer.dictionary, dim=1) - quantizer.dictionary).abs().max() < 1e-5
