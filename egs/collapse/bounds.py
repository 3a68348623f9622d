"""What plain vector quantisation is measured against: bounds of rate-distortion theory, k-means, 1-sparse dictionaries.

Distortion is the mean squared error over all elements.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.quantizers.codebook import nearest_rows, water_level
from codec.quantizers.kmeans import kmeans

GAIN_LEVELS = 16  # of the dictionary's quantised coefficient, as the scvae system has it


def water_filling(rows: Tensor, bits: float) -> float:
    """Distortion of a Gaussian with the covariance of (N, D) at ``bits`` a latent, by reverse water-filling.

    No quantiser of a Gaussian source does better. Of other sources with this covariance, some can: the Gaussian is the
    hardest of them.
    """
    centred = (rows - rows.mean(dim=0)).double()
    variances = torch.linalg.eigvalsh(centred.T @ centred / len(rows)).clamp(min=0)
    return float(variances.minimum(water_level(variances, bits)).mean())


def shannon_lower_bound(entropy_bits: float, dim: int, bits: float) -> float:
    """No quantiser at ``bits`` a latent does better on a source of this differential entropy (bits a latent)."""
    return 2 ** (2 * (entropy_bits - bits) / dim) / (2 * math.pi * math.e)


def kmeans_codes(rows: Tensor, size: int, iterations: int, seed: int) -> Tensor:
    """Centres (size, D) of latents (N, D)."""
    return kmeans(rows, size, iterations, torch.Generator().manual_seed(seed))


def distortion(rows: Tensor, codes: Tensor) -> tuple[float, Tensor]:
    """Error of (N, D) with the nearest of (K, D), and which that is (N,)."""
    tokens = nearest_rows(rows, codes)
    return float(F.mse_loss(codes[tokens], rows)), tokens


@torch.no_grad()
def one_sparse(train: Tensor, test: Tensor, size: int, iterations: int, seed: int) -> tuple[float, float, Tensor]:
    """Dictionary learning with one atom a latent (K-SVD, sparsity 1): each atom is the main direction of its members.

    Args:
        train: (N, D), to learn from.
        test: (M, D), to measure on.
        size: K; atoms * 16 levels of the coefficient.
        iterations: rounds of assignment and update.
        seed: of the first atoms.

    Returns:
        Test distortion with real coefficients, which no finite rate has, and with 16 levels; tokens (M,) of the latter.
    """
    generator = torch.Generator().manual_seed(seed)
    centre = train.mean(dim=0)
    centred = train - centre
    atoms = max(1, size // GAIN_LEVELS)
    first = torch.randperm(len(train), generator=generator).repeat(-(-atoms // len(train)))[:atoms]
    dictionary = F.normalize(centred[first], dim=1)
    for _ in range(iterations):
        atom, gain = _strongest(centred, dictionary)
        # One step of the power method on the members' covariance: sum of gain * latent.
        moved = torch.zeros_like(dictionary).index_add_(0, atom, gain.unsqueeze(1) * centred)
        dictionary = torch.where(moved.norm(dim=1, keepdim=True) > 0, F.normalize(moved, dim=1), dictionary)
    gains = kmeans(_strongest(centred, dictionary)[1].unsqueeze(1), GAIN_LEVELS, 20, generator)
    atom, gain = _strongest(test - centre, dictionary)
    level = (gain.unsqueeze(1) - gains.T).abs().argmin(dim=1)
    real = F.mse_loss(gain.unsqueeze(1) * dictionary[atom], test - centre)
    coded = F.mse_loss(gains[level] * dictionary[atom], test - centre)
    return float(real), float(coded), atom * GAIN_LEVELS + level


def _strongest(rows: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
    """The most parallel atom of (N, D) and the coefficient on it, (N,) each."""
    atoms, gains = [], []
    for part in rows.split(4096):
        products = part @ dictionary.T
        atom = products.abs().argmax(dim=1)
        atoms.append(atom)
        gains.append(products.gather(1, atom.unsqueeze(1)).squeeze(1))
    return torch.cat(atoms), torch.cat(gains)
