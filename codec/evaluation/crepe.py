"""CREPE's pitch posteriors, ten times faster on a CPU than the network's own convolutions.

CREPE (arXiv 1802.06182) reads every 10 ms a frame of 1024 samples with six convolutions whose kernels are about as long
as their inputs: 1.4 billion multiply-adds a frame, three quarters of them in the second layer. Convolution over such
lengths is cheaper as a product of spectra. The weights and the function are ``torchcrepe``'s; only the rounding
differs (posteriors to 1e-6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.evaluation.torchcrepe_alone import torchcrepe

SAMPLE_RATE = 16_000  # Hz
FRAME = 1024  # samples
HOP = SAMPLE_RATE // 100
FRAMES_AT_ONCE = 32  # a frame's activations are 1 MiB in the first layer
_LEFT, _RIGHT = 31, 32  # samples a kernel of layers 2 to 6 reaches to either side
_FIRST_PAD = 254
_FIRST_OUTPUTS = 256


@dataclass(frozen=True)
class _Layer:
    """A convolution of kernel 64 over short inputs (N, L, C), as a product of spectra."""

    length: int  # L
    n_fft: int
    spectrum: Tensor  # (n_fft // 2 + 1, C, C') complex
    bias: Tensor  # (C',)

    @classmethod
    def of(cls, convolution: nn.Conv2d, length: int) -> _Layer:
        # Taps further out than the input is long meet padding only.
        left, right = min(_LEFT, length - 1), min(_RIGHT, length - 1)
        n_fft = length + max(left, right)
        n_fft += n_fft % 2
        kernel = convolution.weight[..., _LEFT - left : _LEFT + right + 1, 0]  # (C', C, left + 1 + right)
        circular = kernel.new_zeros(*kernel.shape[:2], n_fft)  # tap 0 first, the left ones wrapped to the end
        circular[..., : right + 1] = kernel[..., left:]
        circular[..., n_fft - left :] = kernel[..., :left]
        # Conjugate: what networks call a convolution is a correlation.
        spectrum = torch.fft.rfft(circular).conj().permute(2, 1, 0).resolve_conj().contiguous()
        assert convolution.bias is not None
        return cls(length, n_fft, spectrum, convolution.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, L, C) -> (N, L, C')."""
        spectrum = torch.fft.rfft(x, n=self.n_fft, dim=1).transpose(0, 1)  # (n_fft // 2 + 1, N, C)
        y = torch.fft.irfft(torch.bmm(spectrum, self.spectrum), n=self.n_fft, dim=0)
        return y[: self.length].transpose(0, 1) + self.bias


class Crepe:
    """``torchcrepe``'s full model. Its weights ship with the package.

    Args:
        device: off the CPU the convolutions are left to torchcrepe.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        torchcrepe().load.model("cpu", "full")  # torch reads no file onto the "cpu:1" of a second process
        network = torchcrepe().infer.model.to(device)
        self._network = network.requires_grad_(False)
        if device.type != "cpu":
            return
        self._first = network.conv1.weight[:, 0, :, 0].T.contiguous()  # (512, 1024)
        self._layers = [
            _Layer.of(getattr(network, f"conv{index}"), _FIRST_OUTPUTS >> (index - 1)) for index in range(2, 7)
        ]
        self._norms = [_affine(getattr(network, f"conv{index}_BN")) for index in range(1, 7)]

    @torch.no_grad()
    def posteriors(self, audio: Tensor) -> Tensor:
        """Probability of each of 360 pitch bins (20 cents apart) every 10 ms.

        Args:
            audio: (T,) float32 at 16 kHz, T >= 1024; frames begin at its first sample, without padding.

        Returns:
            (1 + (T - 1024) // 160, 360) on the CPU.
        """
        frames = self._frames(audio)
        if self._device.type == "cpu":
            return torch.cat([self._infer(block) for block in frames])
        return torch.cat([self._network(block).cpu() for block in frames])

    def _frames(self, audio: Tensor) -> Iterator[Tensor]:
        """Normalised frames (N, 1024), some at a time."""
        return torchcrepe().preprocess(
            audio.unsqueeze(0),
            SAMPLE_RATE,
            HOP,
            FRAMES_AT_ONCE,
            self._device,
            pad=False,
        )

    def _infer(self, frames: Tensor) -> Tensor:
        """(N, 1024) -> (N, 360)."""
        patches = F.pad(frames, (_FIRST_PAD, _FIRST_PAD)).unfold(1, 512, 4)  # (N, 256, 512)
        first = torch.matmul(patches.reshape(-1, 512), self._first).view(len(frames), _FIRST_OUTPUTS, -1)
        x = _finish(first.add_(self._network.conv1.bias), self._norms[0])
        for layer, norm in zip(self._layers, self._norms[1:], strict=True):
            x = _finish(layer(x), norm)
        return torch.sigmoid(self._network.classifier(x.flatten(1)))


def _finish(x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
    """What follows each convolution, in this order: ReLU, batch norm, the larger of two. (N, L, C) -> (N, L / 2, C)."""
    scale, shift = norm
    return x.relu_().mul_(scale).add_(shift).unflatten(1, (-1, 2)).amax(2)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in eval mode as scale and shift, (C,) each."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
