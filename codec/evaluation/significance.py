"""Whether paired differences are more than chance: an interval for how large they are, a test for whether they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RESAMPLES = 10_000  # for the interval
DRAWS = 10_000  # of signs, where all ways are too many
EXACT_PAIRS = 14  # up to here all ways are counted: 8,192, as only their signs relative to the first pair's matter
SMALLEST_P = 2 / (DRAWS + 1)
SEED = 20242
LEVEL = 0.05
_BLOCK = 1000  # at once: memory stays a few MB for thousands of utterances


def paired_interval(differences: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float] | None:
    """95 % percentile interval of the mean of paired differences (N,), weighted by (N,) or not.

    None for fewer than two, which say nothing of how they spread.
    """
    N = len(differences)
    if N < 2:
        return None
    generator = np.random.default_rng(SEED)
    blocks = []
    for _ in range(RESAMPLES // _BLOCK):
        drawn = generator.integers(N, size=(_BLOCK, N))
        blocks.append(np.average(differences[drawn], axis=1, weights=None if weights is None else weights[drawn]))
    low, high = np.percentile(np.concatenate(blocks), [2.5, 97.5])
    return float(low), float(high)


def sign_flip_p(differences: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Two-sided p of the mean of paired differences (N,), weighted by (N,) or not; None for fewer than two.

    Were the systems alike, each difference could as well have the other sign; p is the share of all ways to choose the
    signs whose mean is as far from 0 as the one seen. A bootstrap's p is none for few pairs: two that agree in sign by
    chance, as every other two do, never have a resample on the other side of 0. Here two pairs have p = 0.5 at least,
    and only six or more can be below 0.05.

    For more than ``EXACT_PAIRS`` signs are drawn: p is twice the share of means on the side seen, the one seen counted
    among them, so that it is never below ``SMALLEST_P``: what no draw reached may yet be that rare.
    """
    N = len(differences)
    if N < 2:
        return None
    shares = differences if weights is None else differences * weights
    reached = abs(float(shares.sum())) - 1e-9 * float(np.abs(shares).sum())  # ties stay ties whatever the rounding
    if N <= EXACT_PAIRS:
        ways = 2 * ((np.arange(2 ** (N - 1))[:, None] >> np.arange(N - 1)) & 1) - 1
        return float((np.abs(shares[0] + ways @ shares[1:]) >= reached).mean())
    beyond = sum(int((signs @ shares >= reached).sum()) for signs in _drawn_signs(N))
    return min(1.0, 2 * (beyond + 1) / (DRAWS + 1))


def _drawn_signs(pairs: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(SEED)
    for _ in range(DRAWS // _BLOCK):
        yield generator.integers(2, size=(_BLOCK, pairs)) * 2.0 - 1.0


def how_tested() -> str:
    """What stands below intervals and p."""
    return (
        f"interval: paired bootstrap over utterances, {RESAMPLES} resamples; p: signs of the differences flipped, in "
        f"all ways for up to {EXACT_PAIRS} pairs, else in {DRAWS} drawn ones, where no p is below {SMALLEST_P:.4f}"
    )
