from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec.audio import interpolation, resampling
from codec.audio.resampling import Resampler, resample, resample_sharply
from codec.errors import CodecError

RATES = [8000, 11_025, 16_000, 22_050, 24_000, 24_001, 32_000, 44_100, 48_000]


def in_blocks(audio: Tensor, from_rate: int, to_rate: int, sizes: list[int]) -> Tensor:
    resampler, start, parts = Resampler(from_rate, to_rate), 0, []
    for size in sizes:
        parts.append(resampler.push(audio[start : start + size]))
        start += size
    return torch.cat([*parts, resampler.push(audio[start:]), resampler.finish()])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4000), st.sampled_from(RATES), st.sampled_from(RATES), st.lists(st.integers(0, 900), max_size=6))
def test_blocks_together_are_the_whole(T: int, from_rate: int, to_rate: int, sizes: list[int]) -> None:
    audio = torch.randn(T, generator=torch.Generator().manual_seed(T))
    whole = resample(audio, from_rate, to_rate)
    blocks = in_blocks(audio, from_rate, to_rate, sizes)
    assert blocks.shape == whole.shape
    torch.testing.assert_close(blocks, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("from_rate", [8000, 24_001, 44_100, 48_000])
def test_blocks_of_speech_are_the_whole_to_the_last_bit_but_one(speech: Tensor, from_rate: int) -> None:
    blocks = in_blocks(speech, from_rate, 24_000, [10_000, 1, 9_999, 20_000])
    torch.testing.assert_close(blocks, resample(speech, from_rate, 24_000), rtol=0, atol=1.2e-7)


def test_what_is_held_does_not_grow() -> None:
    resampler = Resampler(44_100, 24_000)
    given = [len(resampler.push(torch.zeros(4410))) for _ in range(30)]
    assert max(given) - min(given[1:]) <= 80
    assert len(resampler._held) < 1000 and resampler._held.untyped_storage().nbytes() < 4000


@pytest.mark.parametrize("rates", [(44_100, 24_000), (16_000, 24_000), (24_000, 8000), (8000, 24_000)])
@pytest.mark.parametrize("work", [resample, resample_sharply])
def test_without_a_table_of_kernels_it_is_the_same(
    speech: Tensor, monkeypatch: pytest.MonkeyPatch, rates: tuple[int, int], work: Callable[[Tensor, int, int], Tensor]
) -> None:
    audio = speech[:9999].view(3, 3333)
    expected = work(audio, *rates)
    monkeypatch.setattr(resampling, "_MAX_TAPS", 0)
    monkeypatch.setattr(interpolation, "_AT_ONCE", 20_000)
    torch.testing.assert_close(work(audio, *rates), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("from_rate", [24_001, 44_101, 7919, 192_001])
def test_any_rate_keeps_a_tone(from_rate: int) -> None:
    def tone(rate: int) -> Tensor:
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate, dtype=torch.float64) / rate).float()

    resampled = resample(tone(from_rate), from_rate, 24_000)
    assert resampled.shape == (24_000,)
    torch.testing.assert_close(resampled[1000:-1000], tone(24_000)[1000:-1000], rtol=0, atol=1e-3)


def test_what_is_held_does_not_grow_at_any_rate() -> None:
    resampler = Resampler(44_101, 24_000)
    given = [len(resampler.push(torch.zeros(4410))) for _ in range(30)]
    assert max(given) - min(given[1:]) <= 1
    held = resampler._interpolator._held
    assert len(held) < 50 and held.untyped_storage().nbytes() < 200


def test_rates_that_cannot_be_resampled() -> None:
    for rates in ((0, 24_000), (24_000, -1), (44_100.5, 24_000)):
        with pytest.raises(CodecError, match="cannot resample"):
            Resampler(*rates)


@pytest.mark.parametrize(
    "rates", [(44_100, 24_000), (16_000, 24_000), (24_000, 16_000), (24_000, 8000), (8000, 48_000)]
)
def test_it_is_torchaudios(speech: Tensor, rates: tuple[int, int]) -> None:
    """Of the published protocol, which resamples so; where that library is installed."""
    functional = pytest.importorskip("torchaudio.functional", exc_type=(ImportError, OSError))
    audio = speech[:9999].view(3, 3333)
    assert torch.equal(resample(audio, *rates), functional.resample(audio, *rates))
    sharp = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}
    theirs = functional.resample(audio, *rates, **sharp, resampling_method="sinc_interp_kaiser")
    torch.testing.assert_close(resample_sharply(audio, *rates), theirs, rtol=0, atol=1e-6)


def test_gradients_after_inference_mode(speech: Tensor) -> None:
    """The kernels are kept from call to call, wherever the first one was."""
    resampling._table.cache_clear()
    with torch.inference_mode(), torch.device("meta"):
        resample(speech[:100].clone(), 24_000, 16_000)
    audio = speech[:100].clone().requires_grad_()
    resample(audio, 24_000, 16_000).sum().backward()
    assert audio.grad is not None and bool(audio.grad.any())
