"""Means with their uncertainty. Bootstrap intervals are percentile intervals (Efron & Tibshirani 1993, ch. 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating] | Sequence[Sequence[float]]

RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean of `values` with a 95% bootstrap interval.

    Raises:
        ValueError: no values.
    """
    return stratified_mean({"": values}, seed, resamples)


def stratified_mean(groups: Mapping[str, Sequence[float]], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Unweighted mean of the means of groups, resampled within each group. This is the mean task score."""
    arrays = [np.asarray(values, dtype=float) for values in groups.values()]
    if not arrays or any(len(array) == 0 for array in arrays):
        raise ValueError("an interval needs at least one value in every group")
    rng = np.random.default_rng(seed)
    draws = np.mean([array[rng.integers(len(array), size=(resamples, len(array)))].mean(1) for array in arrays], axis=0)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(np.mean([array.mean() for array in arrays])), float(low), float(high))


def paired_difference(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], seed: int = 0
) -> Interval:
    """Mean over groups of after - before on the same examples, with a 95% interval. Pairs are resampled together.

    Raises:
        ValueError: the groups or their lengths differ.
    """
    if before.keys() != after.keys() or any(len(before[name]) != len(after[name]) for name in before):
        raise ValueError("paired values must come from the same examples in the same order")
    return stratified_mean(
        {name: np.asarray(after[name], float) - np.asarray(before[name], float) for name in before}, seed
    )  # type: ignore[misc]


def interquartile_mean(values: Scores) -> float:
    """Mean of the middle half of all runs and tasks, [runs, tasks] (Agarwal et al. 2021, arXiv 2108.13264, sec. 4.3)."""
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(values, float).ravel(), 0.25))


def probability_of_improvement(ours: Scores, theirs: Scores) -> float:
    """P(X > Y) + P(X = Y) / 2 for runs X of `ours` and Y of `theirs`, [runs, tasks] each, averaged over tasks (Agarwal et al. 2021, eq. 1)."""
    x, y = np.asarray(ours, float), np.asarray(theirs, float)
    wins = (x[:, None] > y[None]).mean((0, 1)) + (x[:, None] == y[None]).mean((0, 1)) / 2
    return float(wins.mean())


def run_interval(values: Scores, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean over runs and tasks, [runs, tasks], with a 95% interval over resampled runs. A single run has NaN bounds, because it says nothing about
    the variance. For a paired difference, pass ours - theirs with one row per seed."""
    scores = np.asarray(values, float)
    if len(scores) == 0:
        raise ValueError("an interval needs at least one run")
    if len(scores) == 1:
        return Interval(float(scores.mean()), float("nan"), float("nan"))
    rows = np.random.default_rng(seed).integers(len(scores), size=(resamples, len(scores)))
    low, high = np.percentile(scores[rows].mean((1, 2)), [2.5, 97.5])
    return Interval(float(scores.mean()), float(low), float(high))
