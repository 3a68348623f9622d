"""Strided 1-D convolution with reflect padding that gives exactly ceil(T / stride) outputs."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


class Conv1d(nn.Module):
    """Weight-normalised convolution, causal or centred (EnCodec's ``SConv1d``, arXiv 2210.13438).

    (B, C_in, T) -> (B, C_out, ceil(T / stride)). Causal: all of the fixed padding stands on the left, and only what is
    missing to a whole last stride on the right. Both sides are reflected, so the first outputs of a causal layer see a
    few samples ahead; this is how the published model was trained.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, causal: bool = True
    ) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv1d(in_channels, out_channels, kernel_size, stride))
        self.stride = stride
        fixed = kernel_size - stride
        self.pad_right = 0 if causal else fixed // 2
        self.pad_left = fixed - self.pad_right

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T) -> (B, C_out, ceil(T / stride))."""
        to_whole_stride = -x.shape[-1] % self.stride
        return self.conv(pad_reflect(x, self.pad_left, self.pad_right + to_whole_stride))


def pad_reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Reflect-pad the last axis; an input shorter than the padding is extended by zeros first."""
    missing = max(left, right) - x.shape[-1] + 1
    if missing <= 0:
        return F.pad(x, (left, right), mode="reflect")
    padded = F.pad(F.pad(x, (0, missing)), (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]
