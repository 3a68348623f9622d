from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from codec.config import SimVQConfig
from codec.quantizers.codebook import water_level
from codec.quantizers.kmeans import CODE_CHUNK, kmeans
from codec.quantizers.search import QUERY_CHUNK, half_squared_norms, nearest_codes
from codec.quantizers.simvq import SimVQ
from codec.quantizers.usage import CodeUsage


def make(dim: int = 8, seed: int = 0, **settings: object) -> SimVQ:
    torch.manual_seed(seed)
    return SimVQ(dim, SimVQConfig(**{"codebook_size": 50, "search_chunk": 16, **settings}))  # type: ignore[arg-type]


def plain_nearest(queries: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return (queries.double()[:, None] - codes.double()[None]).square().sum(-1).argmin(dim=1)


# -- search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, QUERY_CHUNK + 3])
@pytest.mark.parametrize("size", [1, 5, 33])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_search_finds_the_nearest_whatever_the_chunks(count: int, size: int, chunk: int) -> None:
    generator = torch.Generator().manual_seed(count * size)
    queries, codes = torch.randn(count, 6, generator=generator), torch.randn(size, 6, generator=generator)
    chunks = [(part, half_squared_norms(part)) for part in codes.split(chunk)]
    assert torch.equal(nearest_codes(queries, chunks), plain_nearest(queries, codes))


@pytest.mark.parametrize("chunk", [1, 2, 3, 12])
def test_search_gives_ties_to_the_lowest_index(chunk: int) -> None:
    codes = torch.randn(3, 4).repeat(4, 1)  # every code four times
    chunks = [(part, half_squared_norms(part)) for part in codes.split(chunk)]
    assert nearest_codes(codes, chunks).tolist() == [0, 1, 2] * 4


def test_search_is_float32_inside_autocast() -> None:
    torch.manual_seed(0)
    quantizer = SimVQ(64, SimVQConfig(codebook_size=4096)).eval()
    latent = torch.randn(1, 64, 300)
    plain = quantizer.encode(latent)
    table = quantizer.projected_codebook()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantizer.encode(latent), plain)
        assert torch.equal(quantizer.train().encode(latent), plain)
        half = (latent[0].T @ table.T - half_squared_norms(table)).argmax(dim=1)
    assert not torch.equal(half, plain[0])  # the guard matters: half precision does change the answer here


@pytest.fixture
def low_precision_allowed() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def test_search_is_float32_where_torch_may_do_less(low_precision_allowed: None) -> None:
    """On processors with bfloat16, as on GPUs with TF32, torch may round the factors of a product."""
    switches = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    seen: list[str] = []
    chunk = torch.randn(4, 3)

    def chunks() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        seen.extend(switch.fp32_precision for switch in switches)
        yield chunk, half_squared_norms(chunk)

    nearest_codes(chunk, chunks())
    assert seen == ["ieee", "ieee"]
    assert [switch.fp32_precision for switch in switches] == ["tf32", "bf16"]
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # the newer way of saying so, of which torch keeps other books
    nearest_codes(chunk, chunks())
    assert seen[2:] == ["ieee", "ieee"]
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_a_query_that_is_not_a_number_gets_code_zero() -> None:
    assert make().encode(torch.full((1, 8, 3), torch.nan)).tolist() == [[0, 0, 0]]


# -- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"trainable_codebook": True}, {"bias": False}, {"codebook_init": "uniform"}])
def test_selected_rows_give_the_values_and_gradients_of_projecting_everything(settings: dict[str, object]) -> None:
    quantizer = make(**settings)
    z = torch.randn(3, 8, 11, requires_grad=True)
    weight_of_output = torch.randn(3, 8, 11)
    out = quantizer(z)
    ((out.quantized * weight_of_output).sum() + 3 * out.loss).backward()
    ours = {name: p.grad.clone() for name, p in quantizer.named_parameters()} | {"z": z.grad.clone()}

    quantizer.zero_grad()
    z.grad = None
    table = quantizer.projection(quantizer.codebook)  # the published way: (K, D) with gradient
    flat = z.transpose(1, 2).reshape(-1, 8)
    tokens = torch.cdist(flat, table).argmin(dim=1)
    q = F.embedding(tokens, table)
    loss = 0.25 * F.mse_loss(q.detach(), flat) + F.mse_loss(q, flat.detach())
    through = (flat + (q - flat).detach()).view(3, 11, 8).transpose(1, 2)
    ((through * weight_of_output).sum() + 3 * loss).backward()
    dense = {name: p.grad.clone() for name, p in quantizer.named_parameters()} | {"z": z.grad.clone()}

    assert torch.equal(out.tokens.flatten(), tokens)
    torch.testing.assert_close(out.quantized, through)
    assert ours.keys() == dense.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], dense[name], msg=name)


def test_only_what_should_learn_learns() -> None:
    assert [name for name, _ in make().named_parameters()] == ["projection.weight", "projection.bias"]
    assert [name for name, _ in make(bias=False).named_parameters()] == ["projection.weight"]
    assert "codebook" in dict(make(trainable_codebook=True).named_parameters())


@pytest.mark.parametrize("init", ["gaussian", "uniform"])
def test_codebook_starts_with_variance_one_over_d(init: str) -> None:
    codebook = make(dim=64, codebook_size=4096, codebook_init=init).codebook
    assert codebook.std().item() == pytest.approx(1 / 8, rel=0.01)
    assert codebook.mean().item() == pytest.approx(0, abs=2e-3)
    if init == "uniform":
        assert codebook.abs().max().item() <= math.sqrt(3 / 64)


# -- tokens and the kept table --------------------------------------------------------------------------------------


def test_tokens_keep_their_shape_and_round_trip() -> None:
    quantizer = make().eval()
    tokens = torch.arange(50).view(2, 25)
    quantized = quantizer.decode(tokens)
    assert quantized.shape == (2, 8, 25)
    assert torch.equal(quantizer.encode(quantized), tokens)


def test_decoding_gives_the_projected_rows_in_every_mode() -> None:
    quantizer = make()
    tokens = torch.tensor([[3, 1, 4]])
    expected = quantizer.projection(quantizer.codebook[tokens]).transpose(1, 2)
    torch.testing.assert_close(quantizer.decode(tokens), expected)
    quantizer.eval()
    with torch.no_grad():
        torch.testing.assert_close(quantizer.decode(tokens), expected)
    with torch.inference_mode():
        torch.testing.assert_close(quantizer.decode(tokens), expected)


def test_decoding_does_not_project_the_whole_codebook() -> None:
    quantizer = make(dim=4, codebook_size=65_536).eval()
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profile:
        quantizer.decode(torch.arange(5).unsqueeze(0))
    assert max(event.self_cpu_memory_usage for event in profile.key_averages()) < 65_536


def test_eval_projects_once_and_training_keeps_nothing() -> None:
    quantizer = make().eval()
    assert quantizer.projected_codebook() is quantizer.projected_codebook()
    quantizer.train()
    assert quantizer.projected_codebook() is not quantizer.projected_codebook()


def _optimizer_step(quantizer: SimVQ) -> None:
    optimizer = torch.optim.AdamW(quantizer.parameters(), lr=0.1, fused=True)
    quantizer.projection(quantizer.codebook[:3]).sum().backward()
    optimizer.step()


def _average(quantizer: SimVQ) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(quantizer.parameters()), [torch.ones_like(p) for p in quantizer.parameters()], 0.5)


def _load(quantizer: SimVQ) -> None:
    quantizer.load_state_dict(make(seed=1).state_dict())


def _replace(quantizer: SimVQ) -> None:
    quantizer.projection.bias = torch.nn.Parameter(torch.ones(8))


def _set_codebook(quantizer: SimVQ) -> None:
    quantizer.codebook.mul_(2)


@pytest.mark.parametrize("change", [_optimizer_step, _average, _load, _replace, _set_codebook])
def test_the_kept_table_follows_every_change_of_the_weights(change: object) -> None:
    quantizer = make().eval()
    before = quantizer.projected_codebook().clone()
    change(quantizer)  # type: ignore[operator]
    expected = quantizer.projection(quantizer.codebook).detach()
    torch.testing.assert_close(quantizer.projected_codebook(), expected)
    assert not torch.allclose(before, expected)


def test_a_copy_has_a_table_of_its_own() -> None:
    quantizer = make().eval()
    quantizer.projected_codebook()
    twin = copy.deepcopy(quantizer)
    with torch.no_grad():
        twin.projection.weight.zero_()
    torch.testing.assert_close(twin.projected_codebook(), twin.projection.bias.detach().expand(50, 8))


def test_a_table_made_in_inference_mode_serves_training_code() -> None:
    quantizer = make().eval()
    with torch.inference_mode():
        quantizer.encode(torch.randn(1, 8, 3))
    z = torch.randn(1, 8, 3, requires_grad=True)
    quantizer(z).loss.backward()
    assert z.grad is not None


def test_no_matrix_of_all_latents_times_all_codes() -> None:
    """At N = 4,096 and K = 65,536 it would be 1 GiB; the search may not come near."""
    quantizer = SimVQ(16, SimVQConfig(codebook_size=65_536, search_chunk=1024)).eval()
    with torch.profiler.profile(profile_memory=True) as profile:
        quantizer.encode(torch.randn(1, 16, 4096))
    largest = max(event.self_cpu_memory_usage / max(1, event.count) for event in profile.key_averages())
    assert largest <= 4 * QUERY_CHUNK * 1024 + 4 * 65_536 * 16


# -- starting from latents ------------------------------------------------------------------------------------------


def correlated(count: int, dim: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(dim, dim, generator=generator) * torch.logspace(0, -2, dim)
    return torch.randn(count, dim, generator=generator) @ mix.T + 5


def test_covariance_start_matches_mean_and_covariance() -> None:
    latents = correlated(20_000)
    quantizer = make(codebook_size=20_000).eval()
    quantizer.initialize(latents, "covariance", torch.Generator().manual_seed(0))
    codes = quantizer.projected_codebook()
    torch.testing.assert_close(codes.mean(dim=0), latents.mean(dim=0), atol=0.1, rtol=0)
    error = (codes.T.cov() - latents.T.cov()).norm() / latents.T.cov().norm()
    assert error < 0.05


@pytest.mark.parametrize("method", ["covariance", "shrunk", "kmeans"])
def test_every_start_uses_many_codes_and_keeps_c_in_scale(method: str) -> None:
    latents = correlated(5_000)
    quantizer = make(codebook_size=256).eval()
    quantizer.initialize(latents, method, torch.Generator().manual_seed(0))
    usage = CodeUsage(256)
    usage.update(quantizer.encode(latents.T.unsqueeze(0)))
    assert usage.summary()["codes_used"] > (250 if method == "kmeans" else 60)
    assert quantizer.codebook.norm(dim=1).mean().item() == pytest.approx(1, rel=0.1)


def test_kmeans_start_beats_the_others_and_repeats_itself() -> None:
    latents = correlated(5_000)
    errors = {}
    for method in ("covariance", "shrunk", "kmeans"):
        quantizer = make(codebook_size=256).eval()
        quantizer.initialize(latents, method, torch.Generator().manual_seed(0))
        quantized = quantizer.decode(quantizer.encode(latents.T.unsqueeze(0)))
        errors[method] = float((quantized[0].T - latents).square().mean() / latents.var(dim=0).mean())
    assert errors["kmeans"] < errors["shrunk"] < errors["covariance"]
    assert errors["kmeans"] < 0.1
    again = make(codebook_size=256).eval()
    again.initialize(latents, "kmeans", torch.Generator().manual_seed(0))
    assert torch.equal(again.codebook, quantizer.codebook)


def test_kmeans_holds_no_row_of_all_centres() -> None:
    """At 100,000 centres and 2,000 points it would be 0.8 GB."""
    points = torch.randn(2_000, 2)
    with torch.profiler.profile(profile_memory=True) as profile:
        kmeans(points, 100_000, 1, torch.Generator().manual_seed(0))
    largest = max(event.self_cpu_memory_usage / max(1, event.count) for event in profile.key_averages())
    assert largest <= 4 * QUERY_CHUNK * CODE_CHUNK


def test_kmeans_start_with_fewer_latents_than_codes() -> None:
    quantizer = make(codebook_size=64).eval()
    quantizer.initialize(correlated(10), "kmeans", torch.Generator().manual_seed(0))
    assert len(quantizer.projected_codebook().unique(dim=0)) == 64


def test_water_level_spends_exactly_the_rate() -> None:
    variances = torch.tensor([4.0, 2.0, 1.0, 0.01, 0.0], dtype=torch.float64)
    for bits in (0.5, 3.0, 12.0):
        level = water_level(variances, bits)
        spent = (variances.clamp(min=1e-300) / level).log2().clamp(min=0).sum() / 2
        assert spent.item() == pytest.approx(bits, rel=1e-9)
    assert water_level(torch.zeros(3), 4.0) == 0


# -- usage ----------------------------------------------------------------------------------------------------------


def test_usage_counts_codes_and_entropy() -> None:
    usage = CodeUsage(8)
    usage.update(torch.tensor([[0, 0], [1, 1]]))
    usage.update(torch.tensor([2, 3, 2, 3]))
    summary = usage.summary()
    assert summary["codes_used"] == 4
    assert summary["entropy_bits"] == pytest.approx(2)
    assert summary["perplexity"] == pytest.approx(4)
    assert summary["normalized_entropy"] == pytest.approx(2 / 3)
    usage.reset()
    assert usage.summary()["codes_used"] == 0
    usage.update(torch.zeros(5, dtype=torch.int64))
    assert usage.summary()["entropy_bits"] == 0


def test_bypass_leaves_the_latent_and_reaches_every_parameter() -> None:
    quantizer = make()
    latent = torch.randn(2, 8, 5)
    out = quantizer.bypass(latent)
    assert out.quantized is latent
    with torch.no_grad():  # weights whose sum is below zero: a log would show -0.0000
        quantizer.projection.bias.fill_(-100.0)
    out = quantizer.bypass(latent)
    assert out.loss == 0 and not out.loss.signbit()
    out.loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in quantizer.parameters())
