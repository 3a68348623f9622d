from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from codec.config import EncoderConfig, ModelConfig, build
from codec.modules.conv import Conv1d, pad_reflect
from codec.modules.istft import ISTFTHead
from codec.modules.seanet import SEANetEncoder
from codec.modules.vocos import AttentionBlock


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 1), (4, 2), (16, 8), (3, 1), (1, 1)])
@pytest.mark.parametrize("length", [1, 2, 5, 16, 33, 640])
def test_convolution_gives_one_output_a_stride(causal: bool, kernel: int, stride: int, length: int) -> None:
    conv = Conv1d(2, 3, kernel, stride, causal=causal)
    assert conv(torch.randn(1, 2, length)).shape == (1, 3, -(-length // stride))


@pytest.mark.parametrize(
    ("channels", "kernel", "stride"), [(16, 16, 8), (24, 16, 8), (16, 8, 4), (32, 10, 5), (1, 7, 1)]
)
def test_half_precision_rounds_and_does_no_more(channels: int, kernel: int, stride: int) -> None:
    """Narrow strided convolutions come out wrong in bfloat16 on some processors."""
    torch.manual_seed(0)
    conv, x = Conv1d(channels, 32, kernel, stride), torch.randn(2, channels, 4000)
    exact = conv(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = conv(x)
    assert (rounded.float() - exact).norm() < 0.01 * exact.norm()


def test_padding_reflects_and_extends_short_input_by_zeros() -> None:
    assert pad_reflect(torch.tensor([[1.0, 2, 3, 4]]), 2, 1).tolist() == [[3, 2, 1, 2, 3, 4, 3]]
    assert pad_reflect(torch.tensor([[1.0, 2]]), 3, 0).tolist() == [[0, 0, 2, 1, 2]]


@pytest.mark.parametrize(("T", "left", "right"), [(10, 3, 2), (5, 4, 4), (3, 2, 0), (7, 0, 3), (6, 0, 0), (4, 3, 1)])
def test_the_gradient_of_reflected_edges_is_that_of_torch(T: int, left: int, right: int) -> None:
    x = torch.randn(2, 3, T, dtype=torch.float64, generator=torch.Generator().manual_seed(T)).requires_grad_()
    ours, theirs = pad_reflect(x, left, right), F.pad(x, (left, right), mode="reflect")
    assert torch.equal(ours, theirs)
    weights = torch.arange(ours.numel(), dtype=torch.float64).view_as(ours)
    one, other = (torch.autograd.grad(padded, x, weights)[0] for padded in (ours, theirs))
    torch.testing.assert_close(one, other)


def small_encoder(causal: bool = True) -> SEANetEncoder:
    torch.manual_seed(0)
    return SEANetEncoder(EncoderConfig(channels=4, strides=(2, 4, 5, 8), latent_dim=6, causal=causal)).eval()


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (320, 1), (321, 2), (24_000, 75), (24_001, 76)])
def test_encoder_gives_a_frame_for_each_started_hop(samples: int, frames: int) -> None:
    assert small_encoder()(torch.randn(1, 1, samples)).shape == (1, 6, frames)


@torch.no_grad()
def test_causal_encoder_does_not_see_ahead_nor_mind_zero_padding() -> None:
    encoder = small_encoder()
    audio = torch.randn(1, 1, 320 * 20)
    latent = encoder(audio)
    padded = encoder(torch.cat([audio, torch.zeros(1, 1, 320 * 7)], dim=-1))
    assert torch.equal(padded[..., :20], latent)
    changed = audio.clone()
    changed[..., 320 * 15 :] += 1
    assert torch.equal(encoder(changed)[..., :15], latent[..., :15])
    other = small_encoder(causal=False)
    assert not torch.equal(other(changed)[..., :15], other(audio)[..., :15])  # and the test can tell


@torch.no_grad()
def test_init_gain_keeps_the_signal_alive() -> None:
    """With PyTorch's defaults a random encoder's latents hardly vary from frame to frame: biases drown the signal."""
    spread = {}
    for gain in (None, 1.3):
        torch.manual_seed(0)
        encoder = SEANetEncoder(EncoderConfig(channels=4, strides=(2, 4, 5, 8), latent_dim=16, init_gain=gain))
        latent = encoder(0.1 * torch.randn(4, 1, 9600))
        spread[gain] = float(latent.var(dim=(0, 2)).mean() / latent.square().mean())
    assert spread[None] < 0.02
    assert spread[1.3] > 0.1


@torch.no_grad()
def test_unit_norm_gives_every_latent_length_one() -> None:
    encoder = SEANetEncoder(EncoderConfig(channels=4, strides=(4, 4), latent_dim=16, unit_norm=True))
    torch.testing.assert_close(encoder(torch.randn(2, 1, 500)).norm(dim=1), torch.ones(2, 32))


@torch.no_grad()
def test_head_inverts_a_short_time_fourier_transform() -> None:
    """Given the true spectra of the frames, overlap-add restores the signal: the window is divided out."""
    n_fft, hop, frames = 64, 16, 30
    head = ISTFTHead(8, n_fft, hop)
    audio = torch.randn(1, hop * frames)
    trim = (n_fft - hop) // 2
    framed = torch.nn.functional.pad(audio, (trim, trim)).unfold(-1, n_fft, hop)  # (1, frames, n_fft)
    spectrum = torch.fft.rfft(framed * torch.hann_window(n_fft))
    head.out = torch.nn.Identity()
    features = torch.cat([spectrum.abs().clamp(min=1e-9).log(), spectrum.angle()], dim=-1)
    torch.testing.assert_close(head(features), audio.unsqueeze(1), atol=1e-4, rtol=0)


def test_head_limits_the_magnitude_and_its_gradient() -> None:
    head = ISTFTHead(4, 64, 16)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.fill_(200.0)  # exp(200) overflows
    audio = head(torch.zeros(1, 5, 4))
    assert audio.isfinite().all()
    audio.sum().backward()
    assert head.out.bias.grad is not None and head.out.bias.grad.isfinite().all()


@torch.no_grad()
def test_head_is_float32_inside_autocast() -> None:
    head, x = ISTFTHead(8, 64, 16), torch.randn(1, 5, 8)
    plain = head(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(x), plain)


@torch.no_grad()
def test_attention_is_plain_softmax_attention() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(32, groups=4)
    x = torch.randn(2, 32, 9)
    normed = block.norm(x)
    query, key, value = block.query(normed), block.key(normed), block.value(normed)
    weights = (torch.einsum("bct,bcs->bts", query, key) / 32**0.5).softmax(dim=-1)
    expected = x + block.out(torch.einsum("bts,bcs->bct", weights, value))
    torch.testing.assert_close(block(x), expected)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"n_fft=1000 must be a multiple of the hop 320.*try 1280"):
        build(ModelConfig, {"decoder": {"n_fft": 1000}})
    with pytest.raises(ValueError, match=r"decoder\.dim=100 must be a multiple"):
        build(ModelConfig, {"decoder": {"dim": 100}})
