"""Rank correlation and pairs by hand, and intervals that count a group once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from rag_graph.evaluation.agreement import (
    agreement,
    difference,
    over_groups,
    pair_accuracy,
    pairs_within,
    spearman,
    spearman_within,
)

RNG = np.random.default_rng(0)


def test_pairs_are_counted_by_hand() -> None:
    paid, goal = np.array([0.1, 0.5, 0.5, 0.9]), np.array([0.0, 1.0, 0.0, 0.0])
    assert pair_accuracy(paid, goal) == pytest.approx((1 + 0.5 + 0) / 3)
    assert np.isnan(pair_accuracy(paid, np.ones(4))), "all goals tie"
    assert pair_accuracy(np.ones(4), goal) == 0.5
    assert pair_accuracy(goal, goal) == 1.0
    assert pair_accuracy(-goal, goal) == 0.0


def test_pairs_agree_with_the_sum_over_all_pairs() -> None:
    for _ in range(20):
        paid, goal = RNG.integers(0, 6, 40) / 5, RNG.integers(0, 4, 40) / 3
        above = goal[:, None] > goal[None]
        right = (paid[:, None] > paid[None]) + 0.5 * (paid[:, None] == paid[None])
        assert pair_accuracy(paid, goal) == pytest.approx(right[above].mean())


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    one, two = RNG.integers(0, 5, 60) / 4, RNG.normal(size=60)
    assert spearman(one, two) == pytest.approx(spearmanr(one, two).statistic)
    assert spearman(one, np.zeros(60)) == 0.0
    assert np.corrcoef(rankdata(one), rankdata(two))[0, 1] == pytest.approx(spearman(one, two))


def test_tasks_are_never_compared_with_each_other() -> None:
    goal = np.array([0.1, 0.2, 0.8, 0.9])
    paid, tasks = np.array([5.0, 6.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
    assert spearman_within(paid, goal, tasks) == pytest.approx(1.0)
    assert pairs_within(paid, goal, tasks) == 1.0
    assert spearman_within(paid, goal, np.zeros(4, int)) < 0
    uneven = np.array([0, 1, 1, 1])
    assert spearman_within(-paid, goal, uneven) == pytest.approx(0.25 * 0 + 0.75 * spearman(-paid[1:], goal[1:]))


def test_rows_of_a_group_are_one_unit() -> None:
    goal = RNG.random(30)
    paid = goal + 0.5 * RNG.random(30)
    tasks, alone = np.zeros(30, int), np.arange(30)
    once = agreement(spearman_within, paid, goal, tasks, alone)
    thrice = agreement(spearman_within, *(np.repeat(part, 3) for part in (paid, goal, tasks, alone)))
    assert thrice.mean == pytest.approx(once.mean)
    assert thrice.low == pytest.approx(once.low, abs=0.005)
    assert once.low < once.mean < once.high <= 1


@pytest.mark.parametrize("measure", [spearman_within, pairs_within])
def test_a_readout_that_orders_alike_differs_by_nothing(measure: object) -> None:
    goal = RNG.random(40)
    paid, tasks, groups = goal + RNG.random(40), np.zeros(40, int), np.arange(40) // 2
    assert difference(measure, paid, 3 * paid + 1, goal, tasks, groups) == (0.0, 0.0, 0.0)  # type: ignore[arg-type]
    better = difference(measure, goal, paid, goal, tasks, groups)  # type: ignore[arg-type]
    assert 0 < better.low < better.mean < better.high
    wide = difference(measure, goal, paid, goal, tasks, groups, comparisons=10)  # type: ignore[arg-type]
    assert wide.low < better.low
    assert wide.mean == better.mean


def test_a_statistic_without_bounds_has_students_interval() -> None:
    """For a mean, leaving out one unit after the other is the classical formula."""
    from scipy.stats import t

    values = np.array([3.0, -2.0, 7.5, 1.0, 4.0])
    found = over_groups(lambda kept: float(values[kept].mean()), np.arange(5), -np.inf, np.inf)
    low, high = t.interval(0.95, 4, values.mean(), values.std(ddof=1) / np.sqrt(5))
    assert found == pytest.approx((values.mean(), low, high))


def test_one_group_says_nothing_of_the_variance() -> None:
    found = over_groups(lambda rows: float(rows.mean()), np.zeros(5, int), 0.0, 1.0)
    assert found.mean == 1.0
    assert np.isnan(found.low)


def test_intervals_cover() -> None:
    """95% intervals of a rank correlation, 40 groups of 3 alike rows: the truth is that of a large draw."""

    def drawn(groups: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        shared = np.repeat(rng.normal(size=(2, groups)), 3, axis=1)
        own = rng.normal(size=(2, 3 * groups))
        goal = shared[0] + 0.7 * own[0]
        return goal + shared[1] + 0.7 * own[1], goal, np.arange(3 * groups) // 3

    paid, goal, _ = drawn(20_000, 999)
    truth = spearman(paid, goal)
    inside = 0
    for seed in range(60):
        paid, goal, groups = drawn(40, seed)
        found = agreement(spearman_within, paid, goal, np.zeros(120, int), groups)
        inside += found.low <= truth <= found.high
    assert inside >= 53
