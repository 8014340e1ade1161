"""How far a reward orders answers as their goals do: rank correlation and pairs, within tasks, with intervals over groups.

The interval leaves out one group of rows after the other (`jackknife_interval`), so rows of one source are one unit. With more than MOST_UNITS groups, blocks
of groups are left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, t

from rag_graph.evaluation.example_intervals import jackknife_interval
from rag_graph.evaluation.statistics import LEVEL, Interval

Values = NDArray[np.float64]
Codes = NDArray[np.int64]
Measure = Callable[[Values, Values, Codes], float]
MOST_UNITS = 50
"""Groups that an interval leaves out one by one at most."""


def spearman(one: Values, two: Values) -> float:
    """Rank correlation in [-1, 1]; 0 where one is constant."""
    if len(one) < 2 or np.std(one) == 0 or np.std(two) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(one), _ranks(two))[0, 1])


def _ranks(values: Values) -> Values:
    """Ranks from 1, the mean of them where values tie; several times as fast as scipy's on short arrays."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def pair_accuracy(paid: Values, goal: Values) -> float:
    """Share, in [0, 1], of pairs of rows that the reward orders as the goal does; a tie of the reward counts half, ties of the goal are left out.
    NaN where all goals tie."""
    right, pairs = _pairs(paid, goal)
    return float(right / pairs) if pairs else float("nan")


def spearman_within(paid: Values, goal: Values, tasks: Codes) -> float:
    """Mean rank correlation within tasks, each task counted by its rows; [n] each."""
    if not len(goal):
        return float("nan")
    shares = [(float((tasks == task).mean()), spearman(paid[tasks == task], goal[tasks == task])) for task in set(tasks.tolist())]  # fmt: skip
    return sum(share * value for share, value in shares)


def pairs_within(paid: Values, goal: Values, tasks: Codes) -> float:
    """`pair_accuracy` over the pairs of rows of one task; [n] each."""
    found = [_pairs(paid[tasks == task], goal[tasks == task]) for task in set(tasks.tolist())]
    pairs = sum(count for _, count in found)
    return float(sum(right for right, _ in found) / pairs) if pairs else float("nan")


def _pairs(paid: Values, goal: Values) -> tuple[float, float]:
    """(pairs in the right order, ties of the reward half; pairs whose goals differ)."""
    n = len(goal)
    every = n * (n - 1) / 2
    tied_goal, tied_paid = (float((c * (c - 1) / 2).sum()) for c in (np.unique(part, return_counts=True)[1] for part in (goal, paid)))  # fmt: skip
    pairs = every - tied_goal
    if pairs <= 0 or every == tied_paid:
        return max(pairs, 0.0) / 2, max(pairs, 0.0)
    tau = float(kendalltau(paid, goal).statistic)
    more_right = float(round(tau * np.sqrt(pairs) * np.sqrt(every - tied_paid)))  # concordant less discordant pairs
    return (pairs + more_right) / 2, pairs


def over_groups(measure: Callable[[NDArray[np.bool_]], float], groups: Codes, low: float, high: float, comparisons: int = 1) -> Interval:  # fmt: skip
    """A statistic of rows and its 95% interval over groups.

    Args:
        measure: rows that count, bool [n] -> the statistic.
        groups: [n].
        low, high: bounds of the statistic; infinite where it has none, and then the interval is Student's t.
        comparisons: how many such intervals shall hold together.

    Returns:
        NaN bounds for a single group, which says nothing about the variance.
    """
    every = np.ones(len(groups), dtype=bool)
    value = measure(every)
    units = np.unique(groups, return_inverse=True)[1]
    count = int(units.max()) + 1 if len(units) else 0
    if count > MOST_UNITS:
        units, count = np.random.default_rng(0).permutation(count)[units] % MOST_UNITS, MOST_UNITS
    if count < 2 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    without = np.array([measure(units != unit) for unit in range(count)])
    without = np.where(np.isnan(without), value, without)
    if np.isinf(low):
        error = np.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
        reach = float(t.ppf(1 - LEVEL / (2 * comparisons), count - 1) * error)
        return Interval(value, value - reach, value + reach)
    inside = jackknife_interval((value - low) / (high - low), (without - low) / (high - low), comparisons)
    return Interval(value, *(low + (high - low) * bound for bound in (inside.low, inside.high)))


def agreement(measure: Measure, paid: Values, goal: Values, tasks: Codes, groups: Codes) -> Interval:
    """`spearman_within` or `pairs_within` with its interval over groups; [n] each."""
    low = -1.0 if measure is spearman_within else 0.0
    return over_groups(lambda rows: measure(paid[rows], goal[rows], tasks[rows]), groups, low, 1.0)


def difference(measure: Measure, ours: Values, theirs: Values, goal: Values, tasks: Codes, groups: Codes, comparisons: int = 1) -> Interval:  # fmt: skip
    """The measure of `ours` less that of `theirs` on the same rows, with its interval over groups.

    Args:
        comparisons: how many such intervals shall hold together.
    """

    def apart(rows: NDArray[np.bool_]) -> float:
        first, second = (measure(paid[rows], goal[rows], tasks[rows]) for paid in (ours, theirs))
        return first - second

    widest = 2.0 if measure is spearman_within else 1.0
    return over_groups(apart, groups, -widest, widest, comparisons)
