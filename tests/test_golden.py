"""Our network, bottleneck and objective are the published functions: golden values say so (tests/golden/README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from golden_weights import GOLDEN, golden_state, golden_values, golden_weight, relative_error

from codec.config import DiscriminatorConfig, LossConfig, SimVQConfig
from codec.convert import rename_discriminators, rename_simvq, simvq_config
from codec.model import Codec
from codec.pretrained import load_weights
from codec.quantizers.simvq import SimVQ
from codec.training.discriminators import Discriminators
from codec.training.losses import MelLoss, discriminator_terms, generator_terms, weighted_sum

SEEDS = sorted(int(path.stem.removeprefix("simvq_seed")) for path in GOLDEN.glob("simvq_seed*.npz"))


@pytest.fixture(scope="module", params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    """Of the made-up weights; values of another seed are tested as soon as their files lie in tests/golden."""
    return request.param


@pytest.fixture(scope="module")
def golden(seed: int) -> dict[str, torch.Tensor]:
    return golden_values(f"simvq_seed{seed}.npz")


@pytest.fixture(scope="module")
def expected(seed: int) -> dict[str, float]:
    """Every term of the objective."""
    return json.loads((GOLDEN / f"simvq_seed{seed}_objective.json").read_text())


@pytest.fixture(scope="module")
def codec(seed: int) -> Codec:
    state = golden_state("simvq_keys.json", "generator", seed)
    codec = Codec(simvq_config(state))
    load_weights(codec, {rename_simvq(name): value for name, value in state.items()}, "golden weights")
    return codec.eval()


@pytest.fixture(scope="module")
def discriminators(seed: int) -> Discriminators:
    state = golden_state("simvq_keys.json", "objective", seed)
    names = rename_discriminators(state)
    discriminators = Discriminators(DiscriminatorConfig())
    load_weights(discriminators, {names[name]: value for name, value in state.items()}, "golden weights")
    return discriminators


def test_every_published_weight_has_exactly_one_of_ours(codec: Codec) -> None:
    published = json.loads((GOLDEN / "simvq_keys.json").read_text())["generator"]
    assert {rename_simvq(name) for name in published} == set(codec.state_dict())
    assert sum(p.numel() for p in codec.parameters()) == 71_952_898  # reference sizes, measured on the published code


@torch.no_grad()
def test_each_stage_of_one_pass(codec: Codec, golden: dict[str, torch.Tensor]) -> None:
    latent = codec.encoder(golden["audio"][None, None])
    assert relative_error(latent, golden["latent"]) <= 1e-4
    assert torch.equal(codec.quantizer.encode(golden["latent"]), golden["indices"])
    quantized = codec.quantizer.decode(golden["indices"])
    assert relative_error(quantized, golden["quantized"]) <= 1e-4
    assert codec.quantizer(golden["latent"]).loss.item() == pytest.approx(golden["commit_loss"].item(), rel=1e-4)
    backbone = codec.decoder.backbone(golden["quantized"])
    assert relative_error(backbone, golden["backbone"]) <= 1e-4
    assert relative_error(codec.decoder.head(golden["backbone"])[:, 0], golden["reconstruction"]) <= 1e-4


def test_public_api_from_end_to_end(codec: Codec, golden: dict[str, torch.Tensor]) -> None:
    tokens = codec.encode(golden["audio"])
    assert torch.equal(tokens.tokens, golden["indices"])
    reconstruction = codec.decode(tokens)
    assert reconstruction.shape == (1, 1, 31_999)  # not the published 32,000: the length is restored
    assert relative_error(reconstruction[:, 0], golden["reconstruction"][:, :31_999]) <= 1e-4
    assert relative_error(codec.decode(golden["tokens"])[:, 0], golden["tokens_audio"]) <= 1e-4


def test_search_over_random_latents(codec: Codec, golden: dict[str, torch.Tensor]) -> None:
    assert torch.equal(codec.quantizer.encode(golden["latent_random"]), golden["indices_random"])
    table = codec.quantizer.projected_codebook()
    assert table.mean().item() == pytest.approx(golden["codebook_mean"].item(), rel=1e-4)
    assert table.std().item() == pytest.approx(golden["codebook_std"].item(), rel=1e-4)


def small_quantizer(seed: int) -> SimVQ:
    shapes = {
        "quantize.embedding.weight": [64, 16],
        "quantize.embedding_proj.weight": [16, 16],
        "quantize.embedding_proj.bias": [16],
    }
    state = {rename_simvq(name): golden_weight(name, shape, seed) for name, shape in shapes.items()}
    quantizer = SimVQ(16, SimVQConfig(codebook_size=64))
    load_weights(quantizer, {name.removeprefix("quantizer."): value for name, value in state.items()}, "golden weights")
    return quantizer


def test_bottleneck_loss_and_gradients(golden: dict[str, torch.Tensor], seed: int) -> None:
    quantizer = small_quantizer(seed)
    z = golden["q_z"].clone().requires_grad_()
    out = quantizer(z)
    loss = (out.quantized * golden["q_r"]).sum() + 10 * out.loss
    loss.backward()
    assert torch.equal(out.tokens, golden["q_indices"])
    assert relative_error(out.quantized.detach(), golden["q_quantized"]) <= 1e-5
    assert out.loss.item() == pytest.approx(golden["q_commit"].item(), rel=1e-5)
    assert loss.item() == pytest.approx(golden["q_loss"].item(), rel=1e-5)
    gradients = {
        "q_grad_z": z.grad,
        "q_grad_weight": quantizer.projection.weight.grad,
        "q_grad_bias": quantizer.projection.bias.grad,
    }
    for name, gradient in gradients.items():
        assert gradient is not None
        assert relative_error(gradient, golden[name]) <= 1e-5, name


OBJECTIVE = {
    "mel": "gen/reconstruct_loss",
    "adversarial_period": "gen/multi_period_loss",
    "adversarial_resolution": "gen/multi_res_loss",
    "adversarial_dac": "gen/loss_dac_1",
    "feature_period": "gen/feature_matching_mp",
    "feature_resolution": "gen/feature_matching_mrd",
    "feature_dac": "gen/loss_dac_2",
    "discriminator_period": "disc/multi_period_loss",
    "discriminator_resolution": "disc/multi_res_loss",
    "discriminator_dac": "disc/dac",
}


def test_every_term_of_the_objective_and_its_gradient(
    discriminators: Discriminators, golden: dict[str, torch.Tensor], expected: dict[str, float]
) -> None:
    real, fake = golden["real"], golden["fake"].clone().requires_grad_()
    with torch.no_grad():
        on_real = discriminators(real)
    on_fake = discriminators(fake)
    terms = {"mel": MelLoss(24_000, LossConfig())(fake, real), **generator_terms(on_fake, on_real)}
    judging = discriminator_terms(on_fake, on_real)
    for ours, theirs in OBJECTIVE.items():
        assert (terms | judging)[ours].item() == pytest.approx(expected[theirs], rel=1e-4), ours
    total = weighted_sum(terms, LossConfig())
    assert total.item() == pytest.approx(expected["gen/total_loss"], rel=1e-4)
    assert weighted_sum(judging, LossConfig()).item() == pytest.approx(expected["disc/total_loss"], rel=1e-4)
    total.backward()
    assert fake.grad is not None
    assert relative_error(fake.grad, golden["objective_grad_fake"]) <= 1e-4
    assert fake.grad.norm().item() == pytest.approx(expected["grad_fake_norm"], rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    "part",
    [
        "encoder.stem",
        "encoder.lstm",
        "encoder.out",
        "decoder.backbone.embed",
        "decoder.backbone.mixer.2",
        "decoder.head",
    ],
)
def test_a_change_of_one_in_a_thousand_would_be_seen(
    codec: Codec, golden: dict[str, torch.Tensor], part: str, request: pytest.FixtureRequest
) -> None:
    module = codec.get_submodule(part)
    saved = {name: value.clone() for name, value in module.state_dict().items()}
    request.addfinalizer(lambda: module.load_state_dict(saved))
    check: Callable[[], float] = (
        (lambda: relative_error(codec.encoder(golden["audio"][None, None]), golden["latent"]))
        if part.startswith("encoder")
        else (lambda: relative_error(codec.decode(golden["tokens"])[:, 0], golden["tokens_audio"]))
    )
    assert check() <= 1e-4
    for parameter in module.parameters():
        parameter.mul_(1.001)
    assert check() > 1e-4


def test_a_changed_loss_weight_or_window_would_be_seen(
    discriminators: Discriminators, golden: dict[str, torch.Tensor], expected: dict[str, float]
) -> None:
    """The DAC family leaves judgements out of its features and pads a whole extra period; both show in its value."""
    for member in discriminators["dac"].members[:5]:
        member.dac = False
    try:
        with torch.no_grad():
            terms = generator_terms(discriminators(golden["fake"]), discriminators(golden["real"]))
    finally:
        for member in discriminators["dac"].members[:5]:
            member.dac = True
    assert terms["feature_dac"].item() != pytest.approx(expected["gen/loss_dac_2"], rel=1e-3)
