"""What each system pays and where its gradients go: its equations written out in loops over latents and codes, float64.

Many losses have one value and several meanings (beta on either term is the same number), so gradients count as well.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from contract_worker import make
from scipy.stats import kstest
from torch import Tensor

from codec.quantizers import Quantizer


def rows(count: int, dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def roughened(quantizer: Quantizer[Any]) -> Quantizer[Any]:
    """No weight is zero, and none follows from another."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in quantizer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return quantizer


def on_axes(quantizer: Any) -> Any:
    """Codes are unit vectors: a mixture of them shows its weights."""
    with torch.no_grad():
        quantizer.codebook.copy_(torch.eye(*quantizer.codebook.shape))
    return quantizer


class Pass:
    """A training pass of a system, and the same latents and weights, as they were before it, in float64."""

    def __init__(self, quantizer: Quantizer[Any], count: int = 12) -> None:
        self.quantizer = quantizer
        self.latents = rows(count).requires_grad_()
        self.z = self.latents.detach().double().requires_grad_()
        self.weights: dict[str, Tensor] = {
            name: value.detach().double() for name, value in quantizer.state_dict().items()
        }
        for name, _ in quantizer.named_parameters():
            self.weights[name].requires_grad_()
        self.out = quantizer(self.latents)

    def __getitem__(self, name: str) -> Tensor:
        return self.weights[name]

    def agrees_with(self, quantized: list[Tensor], loss: Tensor) -> None:
        """Values, and what z and every weight learn from each of the two."""
        expected = torch.stack(quantized)
        torch.testing.assert_close(self.out.quantized.double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(self.out.loss.double(), loss, rtol=1e-5, atol=0)
        names = [name for name, _ in self.quantizer.named_parameters()]
        pull = rows(len(self.z), seed=9)
        outputs = {
            "loss": (self.out.loss, loss),
            "quantized": ((self.out.quantized * pull).sum(), (expected * pull).sum()),
        }
        for output, (theirs, ours) in outputs.items():
            given = gradients(theirs, [self.latents, *self.quantizer.parameters()])
            wanted = gradients(ours, [self.z, *(self.weights[name] for name in names)])
            for name, one, other in zip(["z", *names], given, wanted, strict=True):
                off = (one - other).abs().max().item()
                assert off <= 2e-5 * other.abs().max().item(), f"what the {output} teaches {name} is off by {off}"


def gradients(of: Tensor, to: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of, to, retain_graph=True, materialize_grads=True)


def squared(vector: Tensor) -> Tensor:
    return vector.square().sum()


def nearest(z: Tensor, codes: Tensor) -> int:
    return min(range(len(codes)), key=lambda k: squared(z - codes[k]).item())


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    return z + (q - z).detach()


# -- losses of hard choices -----------------------------------------------------------------------------------------


def test_factorized_weighs_the_latents_term_with_beta() -> None:
    run = Pass(roughened(make("factorized", codebook_size=16, commitment=0.25)))
    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for latent in run.z:
        z = run["projections.inward.weight"] @ latent + run["projections.inward.bias"]
        e = max(run["codebook"], key=lambda code: (z @ code / (z.norm() * code.norm())).item())
        loss = loss + 0.25 * squared(z - e.detach()) + squared(e - z.detach())
        quantized.append(run["projections.outward.weight"] @ straight_through(z, e) + run["projections.outward.bias"])
    run.agrees_with(quantized, loss / (12 * 4))


def test_vqgan_lc_weighs_the_codes_term_with_a_third() -> None:
    run = Pass(roughened(make("vqgan_lc", codebook_size=16, commitment=0.7)))
    codes = torch.stack([run["projector.weight"] @ feature + run["projector.bias"] for feature in run["features"]])
    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for latent in run.z:
        z = run["projections.inward.weight"] @ latent + run["projections.inward.bias"]
        q = codes[nearest(z, codes)]
        loss = loss + 0.7 * squared(z - q.detach()) + 0.33 * squared(q - z.detach())
        quantized.append(run["projections.outward.weight"] @ straight_through(z, q) + run["projections.outward.bias"])
    run.agrees_with(quantized, loss / (12 * 4))


def test_residual_pays_for_every_partial_sum() -> None:
    run = Pass(make("residual", codebook_size=64, codebooks=3, commitment=0.5))
    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for z in run.z:
        partial = torch.zeros(8, dtype=torch.float64)
        for _ in range(3):
            partial = partial + run["codebook"][nearest(z.detach() - partial, run["codebook"])]
            loss = loss + 0.5 * squared(z - partial) / 3
        quantized.append(straight_through(z, partial))
    run.agrees_with(quantized, loss / (12 * 8))


def test_qinco_pays_for_every_stage() -> None:
    run = Pass(roughened(make("qinco", codebook_size=64, codebooks=3, layers=2, commitment=0.5)))

    def transformed(code: Tensor, decoded: Tensor, part: str) -> Tensor:
        h = code + run[f"{part}.join.weight"] @ torch.cat([code, decoded]) + run[f"{part}.join.bias"]
        for layer in range(2):
            h = h + run[f"{part}.up.{layer}.weight"] @ (run[f"{part}.down.{layer}.weight"] @ h).clamp(min=0)
        return h

    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for z in run.z:
        decoded = torch.zeros(8, dtype=torch.float64)
        for stage in range(3):
            part = f"parts.{stage}"
            candidates = [decoded + transformed(code, decoded, part) for code in run[f"{part}.codebook"]]
            decoded = min(candidates, key=lambda x: squared(z - x).item())
            loss = loss + squared(z.detach() - decoded)
        loss = loss + 0.5 * squared(z - decoded.detach())
        quantized.append(straight_through(z, decoded))
    run.agrees_with(quantized, loss / (12 * 8))


@pytest.mark.parametrize("iterations", [2, 16])
def test_scvae_iterates_as_often_as_set(iterations: int) -> None:
    run = Pass(roughened(make("scvae", codebook_size=64, iterations=iterations, threshold=0.1, commitment=0.5)))
    atoms, step = run["dictionary"], (-run["log_c"]).exp()

    def soft(x: Tensor) -> Tensor:
        return x.sign() * (x.abs() - 0.1).clamp(min=0)

    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for z in run.z:
        centred = z - run["center"]
        sparse = soft(step * (atoms @ centred))
        for _ in range(iterations):
            sparse = soft(sparse + step * (atoms @ (centred - sparse @ atoms)))
        assert bool(sparse.any())
        atom = atoms[int(sparse.abs().argmax())]
        gain = min(run["gains"], key=lambda g: (g - centred @ atom / squared(atom)).abs().item())
        q = run["center"] + gain * atom
        loss = loss + 0.5 * squared(z - q.detach()) + squared(q - z.detach()) + squared(centred - sparse @ atoms)
        quantized.append(straight_through(z, q))
    run.agrees_with(quantized, loss / (12 * 8))


# -- Huh: affine codes, alternating steps ---------------------------------------------------------------------------


def test_huh_scales_and_shifts_groups_at_their_own_rate() -> None:
    run = Pass(roughened(make("huh", codebook_size=16, affine_groups=2, affine_lr=3.0, sync=0.2, commitment=0.5)))
    scale, shift = run["scale"], run["shift"]
    codes = torch.stack([(1 + 3 * scale[k // 8]) * e + 3 * shift[k // 8] for k, e in enumerate(run["codebook"])])
    assert {token // 8 for token in run.out.tokens.tolist()} == {0, 1}  # both groups are seen
    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for z in run.z:
        q = codes[nearest(z, codes)]
        loss = loss + 0.5 * squared(z - q.detach()) + squared(q - z.detach())
        quantized.append(straight_through(z, q) + 0.2 * (q - q.detach()))
    run.agrees_with(quantized, loss / (12 * 8))


@pytest.mark.parametrize("groups", [0, 2])
def test_huh_alternating_steps_have_momentum(groups: int) -> None:
    quantizer: Any = roughened(
        make("huh-alternating", codebook_size=6, affine_groups=groups, affine_lr=3.0, alternate_lr=2.0, commitment=0.5)
    )
    slopes, shifts = torch.ones(6, 8, dtype=torch.float64), torch.zeros(6, 8, dtype=torch.float64)
    if groups:
        slopes += 3 * quantizer.scale.detach().repeat_interleave(3, dim=0)
        shifts += 3 * quantizer.shift.detach().repeat_interleave(3, dim=0)
    codes = quantizer.codebook.double()
    velocity = torch.zeros_like(codes)
    for step in range(4):
        latents = rows(20, seed=step)
        gradient = torch.zeros_like(codes)
        for z in latents.double():
            k = nearest(z, slopes * codes + shifts)
            gradient[k] += slopes[k] * 2 * (slopes[k] * codes[k] + shifts[k] - z) / (20 * 8)
        velocity = 0.9 * velocity + gradient
        codes = codes - 2.0 * velocity
        moved = slopes * codes + shifts  # these take the batch
        left = torch.stack([squared(z - moved[nearest(z, moved)]) for z in latents.double()]).sum() / (20 * 8)
        # The codes' term is there for scale and shift alone.
        loss = quantizer(latents).loss.detach().double()
        torch.testing.assert_close(loss, (1.5 if groups else 0.5) * left, rtol=1e-5, atol=0)
        torch.testing.assert_close(quantizer.codebook.double(), codes, rtol=1e-5, atol=1e-6)


# -- soft choices ---------------------------------------------------------------------------------------------------


def test_hqa_pays_entropy_and_commitment_in_probability() -> None:
    run = Pass(on_axes(make("hqa", codebook_size=6, weight=0.5, temperature=0.6)))
    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for z, seen in zip(run.z, run.out.quantized.detach().double(), strict=True):
        distances = torch.stack([squared(z - e) for e in run["codebook"]])
        q = (-distances).exp() / (-distances).exp().sum()
        for k in range(6):
            loss = loss + q[k] * (q[k].log() + math.log(6)) + q[k] * distances[k]
        noise = (0.6 * seen[:6].log() - q.log()).detach()  # up to a constant, which softmax does not notice
        quantized.append(((q.log() + noise) / 0.6).softmax(dim=0) @ run["codebook"])
    run.agrees_with(quantized, 0.5 * loss / 12)


def test_sqvae_pays_for_the_mixture_that_it_passes_on() -> None:
    quantizer: Any = on_axes(make("sqvae", codebook_size=6, weight=0.5, temperature_decay=0.1))
    quantizer.steps.fill_(5)
    run = Pass(quantizer)
    variance, temperature = run["log_variance"].exp(), math.exp(-0.5)
    quantized, loss = [], torch.zeros((), dtype=torch.float64)
    for z, seen in zip(run.z, run.out.quantized.detach().double(), strict=True):
        distances = torch.stack([squared(z - e) for e in run["codebook"]])
        p = (-distances / (2 * variance)).exp() / (-distances / (2 * variance)).exp().sum()
        noise = (temperature * seen[:6].log() - p.log()).detach()  # as above
        mixture = ((p.log() + noise) / temperature).softmax(dim=0) @ run["codebook"]
        for k in range(6):
            loss = loss + p[k] * p[k].log()
        loss = loss + squared(z - mixture) / (2 * variance)
        quantized.append(mixture)
    run.agrees_with(quantized, 0.5 * loss / 12)


@pytest.mark.parametrize(
    ("system", "settings", "temperatures"),
    [
        ("hqa", {"temperature": 0.6}, [0.6] * 2),
        ("sqvae", {"temperature_decay": 0.5}, [max(0.1, math.exp(-0.5 * step)) for step in range(7)]),
    ],
    ids=["hqa", "sqvae"],
)
def test_mixtures_are_drawn_with_gumbel_noise(system: str, settings: dict[str, Any], temperatures: list[float]) -> None:
    """Of two weights, t log(y_1 / y_2) - log(p_1 / p_2) is the difference of two Gumbel variables: logistic."""
    quantizer: Any = on_axes(make(system, codebook_size=2, **settings))
    latent = rows(1)
    odds = float(squared(latent[0] - torch.eye(8)[1]) - squared(latent[0] - torch.eye(8)[0]))
    if system == "sqvae":
        odds /= 2 * quantizer.log_variance.exp().item()
    torch.manual_seed(0)
    for temperature in temperatures:
        mixture = quantizer(latent.repeat(40_000, 1)).quantized.detach()[:, :2].double()
        torch.testing.assert_close(mixture.sum(dim=1), torch.ones(40_000).double(), rtol=0, atol=1e-6)
        logs = mixture.clamp(min=1e-38).log()
        noise = temperature * (logs[:, 0] - logs[:, 1]) - odds
        assert kstest(noise.numpy(), "logistic").statistic < 0.013  # normal noise: 0.023


# -- CVQ: random anchors --------------------------------------------------------------------------------------------


def test_cvq_draws_near_latents_more_often_than_far_ones() -> None:
    """One code takes all latents; the others, 4,000 in each of two directions, show what each of them draws: lengths,
    which differ, count for nothing.
    """

    def at(angle: float, length: float) -> list[float]:
        return [length * math.cos(angle), length * math.sin(angle)] + [0.0] * 6

    angles, directions = (-1.2, -0.5, 0.0, 0.4, 1.3), (0.3, -2.0)
    quantizer: Any = make("cvq", codebook_size=8001)
    codes = torch.tensor([at(0.0, 0.5)] + [at(directions[0], 40.0)] * 4000 + [at(directions[1], 30.0)] * 4000)
    latents = torch.tensor([at(angle, 1.0 + 0.3 * n) for n, angle in enumerate(angles)])
    quantizer.codebook.data.copy_(codes)
    torch.manual_seed(0)
    assert not quantizer(latents).tokens.any()
    pace = math.exp(-1e-3)
    anchors = (quantizer.codebook.detach() - (1 - pace) * codes) / pace
    for direction, drawn in zip(directions, (anchors[1:4001], anchors[4001:]), strict=True):
        likelihoods = [math.exp(math.cos(angle - direction)) for angle in angles]
        which = torch.cdist(drawn, latents).argmin(dim=1)
        torch.testing.assert_close(drawn, latents[which], rtol=1e-5, atol=1e-5)
        for n, likelihood in enumerate(likelihoods):
            p = likelihood / sum(likelihoods)
            share = float((which == n).double().mean())
            assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / 4000)  # five standard deviations
