"""Paired differences and chance: false alarms, above all of few pairs, and what is found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from codec.evaluation.significance import EXACT_PAIRS, LEVEL, SMALLEST_P, paired_interval, sign_flip_p


def p_of(differences: np.ndarray, weights: np.ndarray | None = None) -> float:
    p = sign_flip_p(differences, weights)
    assert p is not None
    return p


@pytest.mark.parametrize("pairs", [2, 3, 4, 5, 6, 8, 10, 14, 15, 40])
def test_false_alarms_are_as_rare_as_promised_for_any_number_of_pairs(pairs: int) -> None:
    generator = np.random.default_rng(pairs)
    runs = 2000 if pairs <= 8 else 400
    alarms = sum(p_of(generator.normal(size=pairs)) < LEVEL for _ in range(runs)) / runs
    assert alarms <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / runs) ** 0.5
    if pairs < 6:
        assert alarms == 0


def test_p_is_uniform_where_nothing_differs() -> None:
    generator = np.random.default_rng(3)
    found = [p_of(generator.normal(size=50)) for _ in range(60)]
    assert 0.35 < np.mean(found) < 0.65


def test_one_pair_has_neither_interval_nor_p() -> None:
    assert paired_interval(np.array([3.0])) is None and sign_flip_p(np.array([3.0])) is None


@pytest.mark.parametrize("pairs", [2, 6, EXACT_PAIRS])
def test_few_pairs_that_all_agree_have_the_smallest_p_there_is(pairs: int) -> None:
    differences = np.random.default_rng(0).uniform(0.5, 1.0, size=pairs)
    assert p_of(differences) == p_of(-differences) == 2.0 ** (1 - pairs)


@pytest.mark.parametrize("weighted", [False, True])
def test_few_pairs_are_counted_in_all_ways(weighted: bool) -> None:
    generator = np.random.default_rng(7)
    differences, weights = generator.normal(0.7, 1.0, size=9), generator.integers(1, 20, size=9)
    shares = differences * weights if weighted else differences
    means = np.array([np.dot(signs, shares) for signs in itertools.product([-1, 1], repeat=9)])
    expected = (np.abs(means) >= abs(shares.sum()) - 1e-12).mean()
    assert p_of(differences, weights if weighted else None) == expected


def test_drawn_signs_agree_with_all_ways() -> None:
    differences = np.random.default_rng(11).normal(0.5, 1.0, size=EXACT_PAIRS)
    more = np.append(differences, 0.0)  # a difference of 0 leaves the mean alone, and makes one pair too many to count
    assert p_of(more) == pytest.approx(p_of(differences), abs=0.02)


def test_a_clear_difference_of_76_pairs_has_the_smallest_p_that_the_draws_can_give() -> None:
    differences = np.random.default_rng(0).normal(0.12, 0.19, size=76)
    assert p_of(differences) == p_of(-differences) == SMALLEST_P
    assert f"{SMALLEST_P:.4f}" == "0.0002"


@pytest.mark.parametrize("pairs", [2, 9, 40])
def test_equal_scores_have_p_one(pairs: int) -> None:
    assert paired_interval(np.zeros(pairs)) == (0.0, 0.0)
    assert p_of(np.zeros(pairs)) == 1.0
