"""A small image autoencoder on scikit-learn's 8 x 8 digits: its latents are images, (B, 16, 4, 4)."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 16
STEPS, BATCH = 600, 64
TEST_SHARE = 0.2


def autoencoder() -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder (B, 1, 8, 8) -> (B, 16, 4, 4) and decoder back."""
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.GELU(), nn.Conv2d(32, 32, 4, stride=2, padding=1), nn.GELU(),
        nn.Conv2d(32, CHANNELS, 1),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Conv2d(CHANNELS, 32, 3, padding=1), nn.GELU(), nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.GELU(),
        nn.Conv2d(32, 1, 3, padding=1),
    )  # fmt: skip
    return encoder, decoder


def digit_latents(steps: int = STEPS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Train the autoencoder and encode: latents (B, 16, 4, 4) of the training and the test images."""
    images = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 16  # (1797, 1, 8, 8) in [0, 1]
    generator = torch.Generator().manual_seed(seed)
    images = images[torch.randperm(len(images), generator=generator)]
    held_out = round(TEST_SHARE * len(images))
    train, test = images[held_out:], images[:held_out]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, decoder = autoencoder()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (BATCH,), generator=generator)]
        loss = F.mse_loss(decoder(encoder(batch)), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return encoder(train), encoder(test)
