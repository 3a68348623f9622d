"""Batches whose rows have different lengths: what lies behind a row's own frames must not be seen.

A mask is (B, 1, F), True where a frame is its row's own; None stands for rows of one length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def frame_mask(lengths: Tensor, num_frames: int, device: torch.device) -> Tensor:
    """(B,) -> (B, 1, F), True for each row's own frames."""
    frames = torch.arange(num_frames, device="cpu")  # whatever the default device
    return (frames < lengths.cpu().view(-1, 1)).unsqueeze(1).to(device)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """(B, C, F) with zeros behind each row's own frames: what a convolution pads a row alone with."""
    return x if mask is None else x * mask


class GroupNorm(nn.GroupNorm):
    """Group norm whose mean and variance are those of a row's own frames."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, F) -> (B, C, F); behind a row's own frames, zeros."""
        if mask is None:
            return super().forward(x)
        B, C, F = x.shape
        own = mask.unsqueeze(1)  # (B, 1, 1, F)
        groups = x.float().view(B, self.num_groups, -1, F)
        count = own.sum(dim=-1, keepdim=True) * groups.shape[2]  # (B, 1, 1, 1): elements of a group
        centred = (groups - (groups * own).sum(dim=(2, 3), keepdim=True) / count) * own
        variance = centred.square().sum(dim=(2, 3), keepdim=True) / count
        normed = (centred * (variance + self.eps).rsqrt()).view(B, C, F)
        return (normed * self.weight.view(C, 1) + self.bias.view(C, 1)) * mask
