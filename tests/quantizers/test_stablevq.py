"""StableVQ's options, against their equations written out in loops."""

from __future__ import annotations

import math

import pytest
import torch

from codec.config import SimVQConfig
from codec.quantizers.simvq import SimVQ


def make(**settings: object) -> SimVQ:
    torch.manual_seed(0)
    return SimVQ(4, SimVQConfig(**{"codebook_size": 12, **settings}))  # type: ignore[arg-type]


def test_dynamic_ste_changes_the_gradient_and_nothing_else() -> None:
    latent = torch.randn(2, 4, 15, requires_grad=True)
    weights = torch.randn(2, 4, 15)
    plain, dynamic = make()(latent), make(ste="dynamic")(latent)
    torch.testing.assert_close(dynamic.quantized, plain.quantized)
    torch.testing.assert_close(dynamic.loss, plain.loss)
    (gradient,) = torch.autograd.grad((dynamic.quantized * weights).sum(), latent)

    rows, codes = latent.detach().mT.reshape(-1, 4), plain.quantized.detach().mT.reshape(-1, 4)
    tokens = plain.tokens.flatten()
    distance = (rows - codes).square().sum(dim=1)
    expected = weights.mT.reshape(-1, 4).clone()
    for u in range(len(rows)):
        expected[u] *= min(distance[v] for v in range(len(rows)) if tokens[v] == tokens[u]) / distance[u]
    torch.testing.assert_close(gradient.mT.reshape(-1, 4), expected)


def test_a_latent_on_its_code_keeps_its_gradient() -> None:
    quantizer = make(ste="dynamic")
    latent = quantizer.decode(torch.tensor([[3, 3, 5]])).detach().requires_grad_()
    quantizer(latent).quantized.sum().backward()
    assert torch.equal(latent.grad, torch.ones_like(latent))


def region_loss_in_loops(quantizer: SimVQ, latent: torch.Tensor, inactive: set[int]) -> torch.Tensor:
    codes = quantizer.projected_codebook()
    rows, tokens = latent.mT.reshape(-1, 4), quantizer.encode(latent).flatten().tolist()
    counts = {k: tokens.count(k) for k in tokens}
    means = {k: torch.stack([rows[u] for u in range(len(rows)) if tokens[u] == k]).mean(dim=0) for k in counts}
    targets = {k: [mean] for k, mean in means.items()}
    crowded = {k: n for k, n in counts.items() if n > 1}
    for k, n in crowded.items():
        quota = math.ceil(n * len(inactive) / sum(crowded.values()))
        for j in sorted(inactive, key=lambda j: float((codes[j] - codes[k]).norm()))[:quota]:
            targets.setdefault(j, []).append(means[k])
    errors = [(codes[k] - torch.stack(given).mean(dim=0)).square().sum() / 4 for k, given in targets.items()]
    return torch.stack(errors).mean()


def test_region_loss_follows_its_definition_over_steps() -> None:
    quantizer = make(region=2.0, region_window=2, commitment=0.0)
    unseen = dict.fromkeys(range(12), 2)
    for step in range(5):
        latent = 0.3 * torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(step))
        used = set(quantizer.encode(latent).flatten().tolist())
        unseen = {k: 0 if k in used else min(2, age + 1) for k, age in unseen.items()}
        expected = region_loss_in_loops(quantizer, latent, {k for k, age in unseen.items() if age >= 2})
        torch.testing.assert_close(quantizer(latent).loss, 2 * expected)


def test_region_loss_revives_dead_codes_where_the_plain_loss_does_not() -> None:
    """A codebook far too small for its latents (Figure 6 of the paper): one cloud, W can only grow slowly."""
    latent = torch.randn(4, 4, 100, generator=torch.Generator().manual_seed(1)) + 3
    used = {}
    for region in (None, 1.0):
        quantizer = make(codebook_size=64, region=region)
        optimizer = torch.optim.Adam(quantizer.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            quantizer(latent).loss.backward()
            optimizer.step()
        used[region] = len(quantizer.eval().encode(latent).unique())
    assert used[1.0] > used[None]


@pytest.mark.parametrize("settings", [{"region": 1.0}, {"ste": "dynamic"}])
def test_eval_mode_keeps_no_statistics(settings: dict[str, object]) -> None:
    quantizer = make(**settings).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(1, 4, 9))
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())
