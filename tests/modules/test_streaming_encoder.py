"""Whatever the chunks, an encoder gives what it gives in one pass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec.config import EncoderConfig, TransformerConfig
from codec.modules.conv import Conv1d, Conv1dState
from codec.modules.seanet import SEANetEncoder

HOP = 2 * 4 * 5 * 8

TRANSFORMER = TransformerConfig(layers=2, heads=4, window=3)

chunk_sizes = st.lists(st.integers(0, 2000), max_size=8)


def small_encoder(causal: bool = True, **changes: object) -> SEANetEncoder:
    torch.manual_seed(0)
    config = {"channels": 4, "strides": (2, 4, 5, 8), "latent_dim": 6, "causal": causal, "init_gain": 1.3}
    return SEANetEncoder(EncoderConfig(**(config | changes))).eval()


def in_chunks(encoder: SEANetEncoder, audio: Tensor, sizes: list[int]) -> Tensor:
    state, start, latents = encoder.initial_state(), 0, []
    for size in sizes:
        latents.append(encoder.step(audio[..., start : start + size], state))
        start += size
    latents.append(encoder.step(audio[..., start:], state, last=True))
    return torch.cat(latents, dim=-1)


@torch.no_grad()
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(7, 1), (4, 2), (16, 8), (3, 1), (1, 1), (5, 5), (6, 4), (9, 2)]),
    st.booleans(),
    st.integers(1, 60),
    st.lists(st.integers(0, 12), max_size=12),
)
def test_a_convolution_in_chunks(shape: tuple[int, int], causal: bool, T: int, sizes: list[int]) -> None:
    """Kernels shorter than two strides too, where the reflection at the end reaches behind the next window."""
    torch.manual_seed(0)
    conv = Conv1d(2, 3, *shape, causal=causal)
    x = torch.randn(2, 2, T)
    state, start, out = Conv1dState(), 0, []
    for size in sizes:
        size = min(size, T - start)
        out.append(conv.step(x[..., start : start + size], state))
        start += size
    out.append(conv.step(x[..., start:], state, last=True))
    torch.testing.assert_close(torch.cat(out, dim=-1), conv(x))


@torch.no_grad()
@settings(max_examples=80, deadline=None)
@given(st.integers(1, 6000), chunk_sizes, st.booleans())
def test_an_encoder_in_chunks(T: int, sizes: list[int], causal: bool) -> None:
    encoder = small_encoder(causal)
    audio = torch.randn(2, 1, T)
    torch.testing.assert_close(in_chunks(encoder, audio, sizes), encoder(audio), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [
        {"unit_norm": True},
        {"lstm_layers": 0},
        {"residual_layers": 3},
        {"strides": (1,)},
        {"stem_stride": 8},
        {"transformer": TRANSFORMER},
    ],
)
@pytest.mark.parametrize("T", [1, HOP * 9, HOP * 9 + 1, HOP * 10 - 1])
def test_every_setting_of_an_encoder_in_chunks(changes: dict[str, object], T: int) -> None:
    encoder = small_encoder(**changes)
    audio = torch.randn(1, 1, T)
    latent = in_chunks(encoder, audio, [1, 2, 700, 0, 999])
    torch.testing.assert_close(latent, encoder(audio), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_causal_encoder_gives_each_latent_as_soon_as_it_can() -> None:
    encoder = small_encoder()
    audio, state = torch.randn(1, 1, 20 * HOP), encoder.initial_state()
    given = [encoder.step(chunk, state).shape[-1] for chunk in audio.split(HOP, dim=-1)]
    assert given == [0] * 6 + [7] + [1] * 13  # 7 frames of left padding are a reflection of what comes first
    assert encoder.step(audio[..., :0], state, last=True).shape == (1, 6, 0)


def memory_of(state: object) -> int:
    """Bytes of all tensors, counting what a view keeps alive."""
    if isinstance(state, Tensor):
        return state.untyped_storage().nbytes()
    parts = state if isinstance(state, list | tuple) else vars(state).values() if hasattr(state, "__dict__") else []
    return sum(map(memory_of, parts))


@torch.no_grad()
def test_the_state_does_not_grow() -> None:
    encoder = small_encoder()
    state = encoder.initial_state()
    sizes = []
    for chunk in torch.randn(1, 1, 30 * 5 * HOP).split(5 * HOP, dim=-1):
        encoder.step(chunk, state)
        sizes.append(memory_of(state))
    assert set(sizes[2:]) == {sizes[-1]}
    assert 0 < sizes[-1] < 4 * HOP * 4  # a chunk has 4 channels of 5 hops after the stem alone
