"""Means over seeds: t intervals, p values for several arms, and the difference that a number of seeds can find.

A seed is one training run, and the only unit here. Intervals over examples are in `example_intervals.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating] | Sequence[Sequence[float]]

LEVEL = 0.05
"""Chance that an interval misses the truth."""
FEW_SEEDS = 5
"""With fewer seeds, one unusual seed decides the interval."""
POWER = 0.8
_QUANTILES = 4000


class Interval(NamedTuple):
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def run_interval(values: Scores, comparisons: int = 1) -> Interval:
    """Mean over runs and tasks with its 95% t interval (Student 1908): a run counts as one number, its mean over tasks.

    For a paired difference, pass ours - theirs with one row per seed.

    The interval says how far training varies between seeds on these test examples. It covers 95% where the runs are normal, with any
    number of runs. It covers less where they are skewed: 88 to 90% for exponential runs with 3 to 10 seeds. Where one run in ten fails
    entirely (0 instead of 1), it covers 27% with 3 seeds, 41% with 5 and 65% with 10, because most small samples show no failure
    (`tests/evaluation/test_statistics.py`). With few runs the bounds may lie outside [0, 1].

    Args:
        values: [runs, tasks].
        comparisons: how many such intervals shall hold together, with 95% (Bonferroni).

    Returns:
        NaN bounds for a single run, which says nothing about the variance.

    Raises:
        ValueError: no runs.
    """
    from scipy.stats import t

    mean, error, freedom = _moments(values)
    reach = error * float(t.ppf(1 - LEVEL / (2 * comparisons), freedom)) if freedom else float("nan")
    return Interval(mean, mean - reach, mean + reach)


def paired_p_value(differences: Scores) -> float:
    """Two-sided p value of the paired t test, [seeds, tasks]: no difference on average. NaN for a single seed."""
    from scipy.stats import t

    mean, error, freedom = _moments(differences)
    if not freedom:
        return float("nan")
    if error == 0:
        return float(mean == 0)
    return float(2 * t.sf(abs(mean) / error, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values (Holm 1979). Where all those below .05 are called a difference, the chance of even one false call is 5%.

    A NaN, which is no test, stays NaN and is not counted.
    """
    given = np.asarray(p_values, float)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    adjusted = given.copy()
    adjusted[order] = np.minimum(1, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in adjusted]


def detectable_difference(differences: Scores, comparisons: int = 1) -> float:
    """The smallest true difference that the paired t test would find with 80% power, if seeds vary as these do.

    With few seeds it is itself uncertain, because it rests on their standard deviation.

    Args:
        differences: [seeds, tasks].
        comparisons: the test is at level .05 / comparisons.

    Returns:
        NaN for a single seed.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr
    from scipy.stats import chi2, t

    _, error, freedom = _moments(differences)
    if not freedom:
        return float("nan")
    critical = float(t.ppf(1 - LEVEL / (2 * comparisons), freedom))
    # Power is an average over the standard deviations that a sample may have. scipy's noncentral t returns NaN for few seeds.
    deviations = np.sqrt(chi2.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES, freedom) / freedom)

    def lacking(errors: float) -> float:
        return float(np.mean(ndtr(errors - critical * deviations) + ndtr(-errors - critical * deviations))) - POWER

    return error * float(brentq(lacking, 0, 3 * critical + 3))


def _moments(values: Scores) -> tuple[float, float, int]:
    """Mean, its standard error, and the degrees of freedom.

    Raises:
        ValueError: no runs.
    """
    scores = np.asarray(values, float)
    if len(scores) == 0:
        raise ValueError("an interval needs at least one run")
    runs = scores.mean(1)
    error = float(runs.std(ddof=1)) / len(runs) ** 0.5 if len(runs) > 1 else float("nan")
    return float(runs.mean()), error, len(runs) - 1


def interquartile_mean(values: Scores) -> float:
    """Mean of the middle half of all runs and tasks, [runs, tasks] (Agarwal et al. 2021, arXiv 2108.13264, sec. 4.3)."""
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(values, float).ravel(), 0.25))


def probability_of_improvement(ours: Scores, theirs: Scores) -> float:
    """P(X > Y) + P(X = Y) / 2 for runs X of `ours` and Y of `theirs`, [runs, tasks] each, averaged over tasks (Agarwal et al. 2021, eq. 1)."""
    x, y = np.asarray(ours, float), np.asarray(theirs, float)
    wins = (x[:, None] > y[None]).mean((0, 1)) + (x[:, None] == y[None]).mean((0, 1)) / 2
    return float(wins.mean())
