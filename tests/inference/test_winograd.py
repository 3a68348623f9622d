"""The convolutions with fewer products are the convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codec.config import ModelConfig, build, preset
from codec.inference import winograd
from codec.inference.decoder import PreparedDecoder
from codec.inference.winograd import LEAST_CHANNELS, WinogradConv
from codec.model import Codec


@pytest.fixture(autouse=True)
def any_number_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are left to the layer otherwise."""
    monkeypatch.setattr(winograd, "LEAST_FRAMES", 1)


def layer(size: int, channels: tuple[int, int] = (LEAST_CHANNELS, LEAST_CHANNELS + 8)) -> nn.Conv1d:
    torch.manual_seed(size)
    return nn.Conv1d(*channels, size, padding=size // 2)


def rounding(found: Tensor, conv: nn.Conv1d, x: Tensor) -> float:
    """Of (B, F, C_out), beside the layer in float64 and relative to its outputs."""
    exact = nn.functional.conv1d(
        x.transpose(1, 2).double(), conv.weight.double(), conv.bias.double(), padding=conv.padding
    ).transpose(1, 2)
    assert found.shape == exact.shape
    return float((found - exact).norm() / exact.norm())


@torch.no_grad()
@pytest.mark.parametrize("size", [3, 7, 9])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 50])
@pytest.mark.parametrize("rows", [1, 3])
def test_is_the_layer(size: int, frames: int, rows: int) -> None:
    conv = layer(size)
    assert WinogradConv.takes(conv)
    x = torch.randn(rows, frames, LEAST_CHANNELS)
    assert rounding(WinogradConv(conv)(x), conv, x) < 3e-6
    # Rows lie in one sequence there, and must not see each other.
    assert rounding(WinogradConv(conv)(x)[:1], conv, x[:1]) < 3e-6


@torch.no_grad()
@pytest.mark.parametrize("size", [3, 7])
def test_pieces_of_a_long_signal_join(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    conv = layer(size)
    x = torch.randn(2, 40, LEAST_CHANNELS)
    whole = WinogradConv(conv)(x)
    monkeypatch.setattr(winograd, "PIECE_FRAMES", 12)
    torch.testing.assert_close(WinogradConv(conv)(x), whole, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("rows, frames", [(1, 99), (3, 33), (1, 100), (4, 25)])
def test_few_frames_go_through_the_layer(rows: int, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "LEAST_FRAMES", 100)
    conv = layer(3)
    x = torch.randn(rows, frames, LEAST_CHANNELS)
    ours, plain = WinogradConv(conv)(x), conv(x.transpose(1, 2)).transpose(1, 2)
    assert torch.equal(ours, plain) is (rows * frames < 100)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_rounds_like_the_layer_at_any_level(scale: float) -> None:
    conv = layer(3)
    assert conv.bias is not None
    conv.bias.zero_()
    x = scale * torch.randn(1, 64, LEAST_CHANNELS)
    plain = conv(x.transpose(1, 2)).transpose(1, 2)
    assert rounding(WinogradConv(conv)(x), conv, x) < 10 * max(rounding(plain, conv, x), 2e-7)


@torch.no_grad()
def test_any_layout_of_frames() -> None:
    conv = layer(7)
    x = torch.randn(2, LEAST_CHANNELS, 10).transpose(1, 2)  # channels before frames in memory
    assert torch.equal(WinogradConv(conv)(x), WinogradConv(conv)(x.contiguous()))


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv1d(256, 256, 5, padding=2),  # two taps would be left
        nn.Conv1d(256, 256, 1),
        nn.Conv1d(256, 256, 4, padding=2),
        nn.Conv1d(256, 256, 3),  # not padded
        nn.Conv1d(256, 256, 3, padding=1, stride=2),
        nn.Conv1d(256, 256, 3, padding=1, groups=256),
        nn.Conv1d(256, 256, 3, padding=1, dilation=2),
        nn.Conv1d(256, 256, 3, padding=1, padding_mode="reflect"),
        nn.Conv1d(256, 256, 3, padding=1, bias=False),
        nn.Conv1d(256, 256, 3, padding=1, dtype=torch.float64),
        nn.Conv1d(256, LEAST_CHANNELS - 1, 3, padding=1),
    ],
    ids=str,
)
def test_other_layers_are_left_alone(other: nn.Conv1d) -> None:
    assert not WinogradConv.takes(other)


@torch.no_grad()
@pytest.mark.parametrize("rows, frames", [(1, 33), (2, 8)])
def test_a_wide_decoder_has_the_audio_of_its_modules(rows: int, frames: int) -> None:
    settings = preset("tiny").model_dump(mode="json")
    settings["encoder"] |= {"latent_dim": LEAST_CHANNELS}
    settings["decoder"] |= {"dim": LEAST_CHANNELS, "hidden_dim": 64, "layers": 1, "residual_blocks": 1}
    torch.manual_seed(0)
    decoder = Codec(build(ModelConfig, settings)).eval().decoder
    prepared = PreparedDecoder(decoder.backbone, decoder.head, torch.float32)
    assert isinstance(prepared.embed, WinogradConv)
    quantized = torch.randn(rows, LEAST_CHANNELS, frames)
    ours, plain = prepared(quantized), decoder(quantized)
    assert float((ours - plain).norm() / plain.norm()) < 1e-4
