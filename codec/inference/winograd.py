"""Convolutions along time with fewer products: Winograd's minimal filtering F(4, 3), for CPUs in float32.

Four neighbouring outputs of a filter with three taps take 12 products; evaluated as the product of two polynomials at
the points 0, 1, -1, 2, -2 and infinity they take six (Winograd 1980; Lavin and Gray, arXiv 1509.09308). With channels,
each product is a matrix product, so a layer becomes six of them over a quarter of the frames: half the arithmetic, and
sums of a few frames before and after. The rounding error is up to 2.5 times that of the library's channels-last form (7
times that of its other forms, which round least), and relative to the loudest of the six frames that a tile reads.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TAPS = 3  # of a filter
OUTPUTS = 4  # of a tile
POINTS = OUTPUTS + TAPS - 1  # products of a tile; also inputs that it reads
PIECE_FRAMES = 2048  # at a time, at most: what lies between is several times as much
LEAST_FRAMES = 100  # of all rows; fewer go through the layer itself
LEAST_CHANNELS = 256  # with fewer, the sums around the products take what these save

# Rows are points; divisions are where the weights are, once.
_OF_FRAMES = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_OF_TAPS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OF_PRODUCTS = (  # rows are outputs
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


class WinogradConv:
    """``layer`` without gradient over frames before channels, equal up to rounding.

    A kernel of seven is two filters of three taps, whose products are added up before the way back, and one tap that is
    a matrix product of its own. Few frames go through the layer as it is: for them, reading twice the weights counts.

    Args:
        layer: one that it :meth:`takes`; the first signal that is long enough makes the weights' transform, twice
            their size.
    """

    def __init__(self, layer: nn.Conv1d) -> None:
        assert self.takes(layer) and layer.bias is not None
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()  # (C_out, C_in, k), (C_out,)
        size = self.weight.shape[-1]
        self.padding = size // 2
        self.filters = size // TAPS
        self.last_tap = self.weight[..., -1].t().contiguous() if size % TAPS else None  # (C_in, C_out)
        self.of_frames = torch.tensor(_OF_FRAMES, dtype=torch.float32, device=self.weight.device)
        self.of_products = torch.tensor(_OF_PRODUCTS, dtype=torch.float32, device=self.weight.device)

    @cached_property
    def products(self) -> Tensor:
        """The weights at the points, (points, filters * C_in, C_out)."""
        out_channels, in_channels, _ = self.weight.shape
        # Turned round while there are three, not six of them: products of few frames are slower the other way.
        taps = self.weight.permute(2, 1, 0)[: self.filters * TAPS].reshape(self.filters, TAPS, -1)
        of_taps = torch.tensor(_OF_TAPS, dtype=torch.float32, device=self.weight.device)
        at_points = torch.matmul(of_taps, taps).view(self.filters, POINTS, in_channels, out_channels)
        return at_points.transpose(0, 1).reshape(POINTS, -1, out_channels)

    @staticmethod
    def takes(layer: nn.Conv1d) -> bool:
        """Whether this form exists for the layer, and serves."""
        size = layer.kernel_size[0]
        plain = layer.groups == 1 and layer.stride == layer.dilation == (1,) and layer.padding_mode == "zeros"
        whole = size % 2 == 1 and size >= TAPS and size % TAPS in (0, 1) and layer.padding == (size // 2,)
        wide = min(layer.in_channels, layer.out_channels) >= LEAST_CHANNELS
        fitting = layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"
        return plain and whole and wide and fitting and layer.bias is not None

    def __call__(self, x: Tensor) -> Tensor:
        """(B, F, C_in) -> (B, F, C_out), zero-padded."""
        B, frames, channels = x.shape
        if B * frames < LEAST_FRAMES:
            return F.conv1d(x.transpose(1, 2), self.weight, self.bias, padding=self.padding).transpose(1, 2)
        # All rows in one sequence of tiles: the zeros behind a row are also those before the next.
        row = OUTPUTS * -(-(frames + self.padding) // OUTPUTS)
        padded = x.new_empty(self.padding + B * row + self.padding, channels)
        rows = padded[self.padding : self.padding + B * row].view(B, row, channels)
        rows[:, :frames] = x
        for zeros in (padded[: self.padding], rows[:, frames:], padded[self.padding + B * row :]):
            zeros.zero_()
        out = x.new_empty(B * row, self.bias.shape[0])
        start = 0
        for piece in out.view(-1, OUTPUTS, len(self.bias)).chunk(-(-B * row // PIECE_FRAMES)):
            stop = start + OUTPUTS * len(piece)
            self._convolve(padded[start : stop + 2 * self.padding], piece)
            start = stop
        return out.view(B, row, -1)[:, :frames]

    def _convolve(self, padded: Tensor, out: Tensor) -> None:
        """(4 * tiles + 2 * padding, C_in) -> (tiles, 4, C_out)."""
        channels, tiles = padded.shape[1], len(out)
        # (tiles, points, filters, C_in): each tile reads two frames of the next, each filter begins three later.
        read = padded.as_strided(
            (tiles, POINTS, self.filters, channels),
            (OUTPUTS * channels, channels, TAPS * channels, 1),
            padded.storage_offset(),
        )
        at_points = torch.matmul(self.of_frames, read.flatten(2))  # (tiles, points, filters * C_in)
        products = torch.bmm(at_points.transpose(0, 1), self.products)  # (points, tiles, C_out)
        sums = torch.mm(self.of_products, products.flatten(1)).view(OUTPUTS, tiles, -1)
        torch.add(sums.transpose(0, 1), self.bias, out=out)
        if self.last_tap is not None:
            out.view(OUTPUTS * tiles, -1).addmm_(padded[2 * self.padding :], self.last_tap)
