"""The codec in operations that ONNX has, with the same weights and the same numbers up to rounding.

What differs from :mod:`codec.modules`: weight norm is folded into plain weights; reflected padding is a gather whose
indices follow from the length, so that one graph takes every length; the inverse STFT is a transposed convolution; the
code search is a chain of matrix products over pieces of the codebook.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.model import Codec
from codec.modules.conv import Conv1d
from codec.modules.istft import MAX_LOG_MAGNITUDE, ISTFTHead

CODES_AT_ONCE = 8192  # codes whose scores are held at once: 4 bytes each for every frame


class EncoderGraph(nn.Module):
    """Audio (B, T) float32 -> tokens (B, ceil(T / hop)) int64, T from 1 on."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(codec.encoder)
        for parent in list(self.encoder.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Conv1d):
                    setattr(parent, name, PlainConv1d(child))
        self.search = CodeSearch(code_vectors(codec))

    def forward(self, audio: Tensor) -> Tensor:
        """(B, T) -> (B, F)."""
        latent = self.encoder(audio.unsqueeze(1))
        return self.search(latent)


class DecoderGraph(nn.Module):
    """Tokens (B, F) int64 -> audio (B, F * hop) float32."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.register_buffer("codes", code_vectors(codec))
        self.backbone = copy.deepcopy(codec.decoder.backbone)
        self.head = PlainISTFTHead(codec.decoder.head)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, F) -> (B, F * hop)."""
        codes: Tensor = self.codes  # type: ignore[assignment]
        return self.head(self.backbone(F.embedding(tokens, codes).transpose(1, 2)))


@torch.no_grad()
def code_vectors(codec: Codec) -> Tensor:
    """What each token stands for, (K, D)."""
    tokens = torch.arange(codec.codebook_size, device=codec.device).unsqueeze(0)
    return codec.quantizer.decode(tokens)[0].T.contiguous().float().cpu()


class PlainConv1d(nn.Module):
    """:class:`Conv1d` with plain weights, for signals of any length."""

    def __init__(self, conv: Conv1d) -> None:
        super().__init__()
        self.register_buffer("weight", conv.conv.weight.detach().clone())
        self.register_buffer("bias", conv.conv.bias.detach().clone())
        self.stride, self.pad_left, self.pad_right = conv.stride, conv.pad_left, conv.pad_right

    def forward(self, x: Tensor, lengths: None = None) -> Tensor:
        """(B, C_in, T) -> (B, C_out, ceil(T / stride))."""
        if self.pad_left or self.pad_right or self.stride > 1:
            x = self._padded(x)
        return F.conv1d(x, self.weight, self.bias, self.stride)  # type: ignore[arg-type]

    def _padded(self, x: Tensor) -> Tensor:
        """As :func:`codec.modules.conv.pad_reflect`: position p of the padded signal is position |p| of the signal, and
        mirrored at its end; a signal shorter than its padding is extended by zeros first."""
        T = torch.ones_like(x[0, 0], dtype=torch.int64).sum()  # a tensor: its value is not the graph's business
        right = self.pad_right + torch.remainder(-T, self.stride)
        extended = torch.maximum(T, right.clamp(min=self.pad_left) + 1)
        # Up to stride - 1 more than needed, which complete no further window.
        positions = torch.arange(self.pad_left + x.shape[-1] + self.pad_right + self.stride - 1) - self.pad_left
        sources = positions.abs()
        sources = torch.where(sources < extended, sources, 2 * (extended - 1) - sources)
        real = (sources >= 0) & (sources < T) & (positions < T + right)
        return x.index_select(-1, torch.where(real, sources, 0)) * real.to(x.dtype)


class CodeSearch(nn.Module):
    """Nearest codes of latents, piece by piece of the codebook."""

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        pieces = codes.split(CODES_AT_ONCE)
        self.sizes = [len(piece) for piece in pieces]
        for number, piece in enumerate(pieces):
            self.register_buffer(f"codes{number}", piece.T.contiguous())  # (D, k)
            self.register_buffer(f"half_norms{number}", piece.square().sum(dim=1) / 2)  # (k,)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, D, F) -> (B, F); ties go to the lowest code."""
        queries = latent.transpose(1, 2)
        best_score = best = None
        offset = 0
        for number, size in enumerate(self.sizes):
            scores = getattr(self, f"half_norms{number}") - queries @ getattr(self, f"codes{number}")  # (B, F, k)
            score, index = scores.min(dim=-1)
            if best_score is None or best is None:
                best_score, best = score, index
            else:
                closer = score < best_score
                best_score, best = torch.where(closer, score, best_score), torch.where(closer, index + offset, best)
            offset += size
        assert best is not None
        return best


class PlainISTFTHead(nn.Module):
    """:class:`ISTFTHead` with the inverse STFT as one transposed convolution over real and imaginary parts."""

    def __init__(self, head: ISTFTHead) -> None:
        super().__init__()
        self.out = copy.deepcopy(head.out)
        self.n_fft, self.hop_length = head.n_fft, head.hop_length
        window = head.window.detach().double().cpu()
        bins, n_fft = head.n_fft // 2 + 1, head.n_fft
        times = torch.arange(n_fft, dtype=torch.float64)
        angles = 2 * math.pi * torch.arange(bins, dtype=torch.float64).unsqueeze(1) * times / n_fft  # (bins, n_fft)
        weight = torch.full((bins, 1), 2.0 / n_fft, dtype=torch.float64)  # each bin stands for its mirror image too
        weight[0] = weight[-1] = 1.0 / n_fft
        basis = torch.cat([weight * angles.cos(), -weight * angles.sin()]) * window  # (2 bins, n_fft)
        self.register_buffer("basis", basis.float().unsqueeze(1))
        self.register_buffer("squared_window", window.square().float().view(1, 1, n_fft))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, dim) -> (B, F * hop)."""
        log_magnitude, phase = self.out(x).transpose(1, 2).chunk(2, dim=1)  # each (B, bins, F)
        magnitude = log_magnitude.clamp(max=MAX_LOG_MAGNITUDE).exp()
        spectrum = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)
        frames = torch.ones_like(x[:1, :, :1]).transpose(1, 2)  # (1, 1, F)
        hop, extra = self.hop_length, self.n_fft - self.hop_length
        own = slice(extra // 2, extra // 2 - extra)
        audio = F.conv_transpose1d(spectrum, self.basis, stride=hop)  # type: ignore[arg-type]
        weights = F.conv_transpose1d(frames, self.squared_window, stride=hop)  # type: ignore[arg-type]
        return (audio[..., own] / weights[..., own]).squeeze(1)
