"""The layout of what discriminators compute."""

from __future__ import annotations

import torch

from codec.config import DiscriminatorConfig
from codec.training.discriminators import Discriminators

SMALL = DiscriminatorConfig(
    periods=(2, 5),
    period_channels=(4, 8, 8),
    resolutions=((256, 64, 256),),
    resolution_channels=4,
    dac_periods=(3,),
    dac_period_channels=(4, 8),
    dac_fft_sizes=(256,),
    dac_channels=4,
)


def test_channels_last_is_another_layout_of_the_same_numbers() -> None:
    plain, other = Discriminators(SMALL), Discriminators(SMALL, channels_last=True)
    other.load_state_dict(plain.state_dict())
    found = []
    for judges in (plain, other):
        audio = torch.randn(2, 1, 2400, generator=torch.Generator().manual_seed(1)).requires_grad_()
        judged, _ = judges(audio, audio.detach().flip(-1))
        maps = [one for family in judged.values() for member in family for one in member]
        sum(one.square().mean() for one in maps).backward()
        found.append((maps, audio.grad, [weight.grad for weight in judges.parameters()]))
    (maps, gradient, weights), (their_maps, their_gradient, their_weights) = found
    torch.testing.assert_close(their_maps, maps)
    torch.testing.assert_close(their_gradient, gradient)
    torch.testing.assert_close(their_weights, weights)
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in their_maps if one.shape[1] > 1)
    assert not all(one.is_contiguous(memory_format=torch.channels_last) for one in maps if one.shape[1] > 1)
