"""Rows of different lengths in one batch: each is what it is alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec.config import DecoderConfig, EncoderConfig
from codec.model import Decoder
from codec.modules.conv import Conv1d
from codec.modules.seanet import SEANetEncoder

HOP = 2 * 4 * 5 * 8


def padded(rows: list[Tensor]) -> Tensor:
    """(C, T) each -> (B, C, max T); the padding is loud, so that whoever hears it is found out."""
    longest = max(row.shape[-1] for row in rows)
    return torch.stack([torch.nn.functional.pad(row, (0, longest - row.shape[-1]), value=7.0) for row in rows])


@torch.no_grad()
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(7, 1), (4, 2), (16, 8), (3, 1), (1, 1), (5, 5), (6, 4), (9, 2)]),
    st.booleans(),
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
)
def test_a_convolution_of_padded_rows(shape: tuple[int, int], causal: bool, lengths: list[int]) -> None:
    torch.manual_seed(0)
    conv = Conv1d(2, 3, *shape, causal=causal)
    rows = [torch.randn(2, length) for length in lengths]
    together = conv(padded(rows), torch.tensor(lengths))
    assert together.shape[-1] == max(-(-length // conv.stride) for length in lengths)
    for row, out in zip(rows, together, strict=True):
        alone = conv(row[None])[0]
        torch.testing.assert_close(out[:, : alone.shape[-1]], alone)


@torch.no_grad()
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_an_encoder_of_padded_rows(lengths: list[int], causal: bool, unit_norm: bool) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(
        channels=4, strides=(2, 4, 5, 8), latent_dim=6, causal=causal, init_gain=1.3, unit_norm=unit_norm
    )
    encoder = SEANetEncoder(config).eval()
    rows = [torch.randn(1, length) for length in lengths]
    together = encoder(padded(rows), torch.tensor(lengths))
    assert together.shape == (len(lengths), 6, -(-max(lengths) // HOP))
    for row, latent in zip(rows, together, strict=True):
        alone = encoder(row[None])[0]
        torch.testing.assert_close(latent[:, : alone.shape[-1]], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.booleans(), st.sampled_from([640, 1280]))
def test_a_decoder_of_padded_rows(frames: list[int], attention: bool, n_fft: int) -> None:
    torch.manual_seed(0)
    config = DecoderConfig(
        dim=32, hidden_dim=48, layers=2, residual_blocks=1, attention=attention, group_norm_groups=8, n_fft=n_fft
    )
    decoder = Decoder(6, 320, config).eval()
    rows = [torch.randn(6, count) for count in frames]
    together = decoder(padded(rows), torch.tensor(frames))
    assert together.shape == (len(frames), 1, 320 * max(frames))
    for row, audio, count in zip(rows, together, frames, strict=True):
        torch.testing.assert_close(audio[:, : 320 * count], decoder(row[None])[0], rtol=1e-4, atol=1e-5)
        assert not audio[:, 320 * count :].any()


@torch.no_grad()
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_statistics_of_padded_rows_at_other_levels(scale: float) -> None:
    """Masked means and variances must hold where the values are far from one."""
    torch.manual_seed(0)
    decoder = Decoder(6, 320, DecoderConfig(dim=32, hidden_dim=48, layers=1, group_norm_groups=8)).eval()
    rows = [scale * torch.randn(6, count) + 5 * scale for count in (3, 50)]
    together = decoder(padded(rows), torch.tensor([3, 50]))
    torch.testing.assert_close(together[0, :, : 3 * 320], decoder(rows[0][None])[0], rtol=1e-3, atol=1e-5)
