"""Schedule, averaging, losses, warm-up statistics: the small parts of training."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from codec import Codec
from codec.config import LossConfig, MelScale, OptimizerConfig, TrainingConfig
from codec.config.run import LastStageConfig
from codec.training.dimensions import effective_dimension
from codec.training.ema import EMA
from codec.training.losses import MelLoss, mean_loudness, weighted_sum
from codec.training.metrics import Means, RunLog
from codec.training.schedule import learning_rates, losses_at, rate_factor
from codec.training.validation import spectrogram_image

HUNDRED = TrainingConfig(steps=100)


def test_schedule_warms_up_above_zero_and_ends_where_it_should() -> None:
    config = OptimizerConfig(warmup_steps=9, schedule="cosine", final_share=0.1)
    factors = [rate_factor(step, 100, config) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1
    assert all(a < b for a, b in itertools.pairwise(factors[:10]))
    assert all(a > b for a, b in itertools.pairwise(factors[9:]))
    assert rate_factor(100, 100, config) == pytest.approx(0.1)
    assert {rate_factor(step, 100, OptimizerConfig()) for step in range(100)} == {1.0}


def test_a_cosine_over_the_last_steps_alone() -> None:
    config = OptimizerConfig(warmup_steps=9, schedule="cosine", final_share=0.1, decay_share=0.2)
    factors = [rate_factor(step, 100, config) for step in range(101)]
    assert set(factors[9:81]) == {1.0}
    assert all(a > b for a, b in itertools.pairwise(factors[80:]))
    assert factors[90] == pytest.approx(0.55) and factors[100] == pytest.approx(0.1)
    longer = [rate_factor(step, 200, config) for step in range(81)]
    assert longer == factors[:81]  # a run made longer has gone the same way so far


def test_the_bottlenecks_own_rate_is_constant() -> None:
    config, training = OptimizerConfig(lr=1e-4, quantizer_lr=1e-3, warmup_steps=10, schedule="cosine"), HUNDRED
    assert {learning_rates(step, training, config)["quantizer"] for step in (0, 50, 99)} == {1e-3}
    assert learning_rates(0, training, config)["network"] < 2e-5
    assert learning_rates(50, training, OptimizerConfig())["quantizer"] == 1e-4


def test_the_last_stage_has_its_own_rates_and_mel_weight() -> None:
    config = OptimizerConfig(lr=1e-4, discriminator_lr=2e-4, quantizer_lr=1e-3, schedule="cosine")
    training = TrainingConfig(steps=100, last_stage=LastStageConfig(share=0.2, mel_factor=10.0, lr_share=0.25))
    assert learning_rates(79, training, config)["network"] < 1e-6  # the cosine has come down before
    for step in (80, 99):
        rates = learning_rates(step, training, config)
        assert rates == pytest.approx({"network": 2.5e-5, "quantizer": 2.5e-4, "discriminators": 5e-5})
    assert losses_at(79, training, LossConfig()) == LossConfig()
    assert losses_at(80, training, LossConfig(feature_dac=3.0)) == LossConfig(feature_dac=3.0, mel=450.0)
    assert losses_at(80, training, LossConfig(mel=15.0)).mel == 150.0
    for step in (0, 99):  # off by default
        assert losses_at(step, HUNDRED, LossConfig()) == LossConfig()
        assert learning_rates(step, HUNDRED, OptimizerConfig())["network"] == 1e-4


def test_average_follows_the_weights_and_their_start_fades(tiny_codec: Codec) -> None:
    ema = EMA(tiny_codec, decay=0.9)
    name = "decoder.head.out.bias"
    start = tiny_codec.get_parameter(name).detach().clone()
    with torch.no_grad():
        tiny_codec.get_parameter(name).add_(1)
    ema.update(tiny_codec)
    torch.testing.assert_close(ema.codec.get_parameter(name), start + 0.9)  # (1 + 0) / (10 + 0) of the start is left
    for _ in range(60):
        ema.update(tiny_codec)
    torch.testing.assert_close(ema.codec.get_parameter(name), start + 1, atol=1e-2, rtol=0)
    assert not any(p.requires_grad for p in ema.codec.parameters())


def test_average_searches_among_its_own_codes(tiny_codec: Codec) -> None:
    """The kept table of projected codes must follow the average."""
    ema = EMA(tiny_codec, decay=0.5)
    before = ema.codec.quantizer.projected_codebook().clone()
    with torch.no_grad():
        tiny_codec.quantizer.projection.bias.add_(1)
    ema.update(tiny_codec)
    torch.testing.assert_close(ema.codec.quantizer.projected_codebook(), before + 0.9)


def test_mel_loss_is_zero_on_itself_and_log_two_on_half() -> None:
    mel = MelLoss(24_000, LossConfig())
    audio = torch.randn(2, 1, 24_000)
    assert mel(audio, audio) == 0
    torch.testing.assert_close(mel(audio / 2, audio), torch.tensor(2.0).log(), atol=1e-3, rtol=0)
    several = LossConfig(mel_scales=(MelScale(n_fft=512, hop_length=128, n_mels=40), MelScale()))
    torch.testing.assert_close(MelLoss(24_000, several)(audio / 2, audio), torch.tensor(2.0).log(), atol=1e-3, rtol=0)


def test_loudness_hears_what_is_loud() -> None:
    mel = MelLoss(24_000, LossConfig())
    torch.manual_seed(0)
    loud, faint = torch.randn(1, 1, 12_000), 1e-3 * torch.randn(1, 1, 12_000)
    whole = torch.cat([loud, faint], dim=-1)

    def terms(fake: torch.Tensor, real: torch.Tensor) -> dict[str, torch.Tensor]:
        targets = mel.targets(real)
        return mel.terms(fake, targets, mean_loudness(targets))

    # Half the frames are 6 dB too low: to the logarithm it is all one which.
    off_loud = terms(torch.cat([loud / 2, faint], dim=-1), whole)
    off_faint = terms(torch.cat([loud, faint / 2], dim=-1), whole)
    torch.testing.assert_close(off_loud["mel"], off_faint["mel"], rtol=0.1, atol=0)
    assert off_loud["loudness"] > 4 * off_faint["loudness"] > 0
    for scaled in (terms(loud / 2, loud), terms(50 * loud, 100 * loud)):
        torch.testing.assert_close(scaled["loudness"], torch.tensor(1 - 0.5**0.3), rtol=0.01, atol=0)  # of any level
    assert terms(whole, whole)["loudness"] < 1e-6
    assert mel.terms(whole, mel.targets(whole)).keys() == {"mel"}


def test_mel_loss_is_float32_inside_autocast() -> None:
    mel = MelLoss(24_000, LossConfig())
    one, other = torch.randn(2, 1, 1, 12_000)
    plain = mel(one, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mel(one, other), plain)


def test_a_weight_of_zero_is_for_the_log_only() -> None:
    one, other = torch.tensor(2.0, requires_grad=True), torch.tensor(torch.inf, requires_grad=True)
    total = weighted_sum({"mel": one, "commitment": other}, LossConfig(mel=3, commitment=0))
    total.backward()
    assert total == 6
    assert other.grad is None


@pytest.mark.parametrize("resumed_step", [0, 2])
def test_curves_of_steps_done_again_replace_the_old(tmp_path: Path, resumed_step: int) -> None:
    """Also where the run was killed before its first checkpoint."""
    for value, first in ((1.0, 0), (2.0, resumed_step)):
        log = RunLog(tmp_path, first)
        for step in range(first + 1, 5):
            log.write(step, "train", {"loss": value})
        log.close()
        # Files of one second are read in the order of a counter's digits, 10 before 9; no resumed run is that fast.
        time.sleep(1)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [event.step for event in events] == [1, 2, 3, 4]
    assert [event.value for event in events] == [1.0] * resumed_step + [2.0] * (4 - resumed_step)


@pytest.mark.parametrize("rank", [0, 1, 3, 8])
def test_effective_dimension_counts_directions_that_vary(rank: int) -> None:
    torch.manual_seed(0)
    vectors = torch.randn(5000, rank) @ torch.randn(rank, 8) * 10 + 3 if rank else torch.full((50, 8), 2.0)
    if rank:
        vectors = torch.linalg.qr(torch.randn(8, 8)).Q[:rank].T @ torch.randn(rank, 5000)
        vectors = vectors.T + 3
    assert effective_dimension(vectors) == rank


def test_spectrogram_image_shows_each_signal() -> None:
    image = spectrogram_image([torch.randn(8000), torch.zeros(8000)])
    assert image.shape == (2 * 513, 8000 // 256 + 1, 3)
    assert image[:513].mean() > image[513:].mean()


def test_means_leave_out_what_is_not_finite() -> None:
    means, accelerator = Means(), Accelerator(cpu=True)
    for value in (2.0, 2.0, float("nan"), float("inf"), -float("inf")):
        means.add({"loss": torch.tensor(value), "never": torch.tensor(float("nan"))})
    means.add({"loss": torch.tensor(5.0)})
    assert means.read(accelerator) == {"loss": 3.0}
    assert means.read(accelerator) == {}
