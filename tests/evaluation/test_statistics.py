"""Statistics over seeds: the numbers of scipy, rliable and textbooks, and coverage by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from rag_graph.evaluation.statistics import (
    Interval,
    detectable_difference,
    holm,
    interquartile_mean,
    paired_p_value,
    probability_of_improvement,
    run_interval,
)

Array = NDArray[np.float64]


def test_numbers_equal_rliables() -> None:
    from rliable import metrics

    rng = np.random.default_rng(0)
    ours, theirs = rng.uniform(size=(7, 3)), rng.uniform(size=(5, 3)).round(1)
    ours[:2] = theirs[:2]  # ties
    assert interquartile_mean(ours) == pytest.approx(metrics.aggregate_iqm(ours), abs=1e-12)
    assert probability_of_improvement(ours, theirs) == pytest.approx(
        metrics.probability_of_improvement(ours, theirs), abs=1e-12
    )


def test_interval_and_p_value_are_those_of_scipys_t_test_on_the_means_of_runs() -> None:
    scores = np.random.default_rng(0).normal(0.1, 1, size=(6, 4))
    theirs = stats.ttest_1samp(scores.mean(1), 0)
    assert run_interval(scores) == pytest.approx((scores.mean(), *theirs.confidence_interval(0.95)))
    assert run_interval(scores, 3)[1:] == pytest.approx(tuple(theirs.confidence_interval(1 - 0.05 / 3)))
    assert paired_p_value(scores) == pytest.approx(theirs.pvalue)


def test_a_t_interval_by_hand() -> None:
    """Mean 2, standard error 1/sqrt(3), and t(.975, 2) = 4.3027 from any table."""
    assert run_interval([[1.0], [2.0], [3.0]]) == pytest.approx((2, 2 - 2.4842, 2 + 2.4842), abs=1e-4)


def test_one_run_has_no_interval() -> None:
    assert np.isnan(run_interval([[0.5, 0.7]]).low)
    assert run_interval([[0.5, 0.7]]).mean == pytest.approx(0.6)
    assert np.isnan(paired_p_value([[0.5]]))
    assert np.isnan(detectable_difference([[0.5]]))
    with pytest.raises(ValueError, match="at least one run"):
        run_interval([])


def test_seeds_that_all_agree() -> None:
    assert run_interval([[0.25]] * 4) == (0.25, 0.25, 0.25)
    assert paired_p_value([[0.25]] * 4) == 0.0
    assert paired_p_value([[0.0]] * 4) == 1.0
    assert detectable_difference([[0.25]] * 4) == 0.0


def test_holm_by_hand_and_missing_tests() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    nan = float("nan")
    found = holm([0.03, nan, 0.02])
    assert found[::2] == pytest.approx([0.04, 0.04]), "two tests, not three"
    assert np.isnan(found[1])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("comparisons", [1, 4])
def test_the_detectable_difference_is_found_with_80_percent_power(seeds: int, comparisons: int) -> None:
    rng = np.random.default_rng(seeds)
    one = np.linspace(-1, 1, seeds)[:, None]
    one /= one.std(ddof=1)  # standard deviation 1
    smallest = detectable_difference(one, comparisons)
    draws = rng.normal(smallest, 1, size=(40_000, seeds))
    p = stats.ttest_1samp(draws, 0, axis=1).pvalue
    assert np.mean(p < 0.05 / comparisons) == pytest.approx(0.8, abs=0.01)


def test_the_detectable_difference_of_ten_pairs_is_the_textbooks() -> None:
    """Effect size d = 1.00 for a paired t test with 10 pairs and 80% power (G*Power 3.1: d = .9962)."""
    ten = np.linspace(-1, 1, 10)[:, None]
    assert detectable_difference(ten / ten.std(ddof=1)) == pytest.approx(0.9962, abs=5e-4)


def test_values_by_hand() -> None:
    assert str(Interval(0.12345, 0.1, 0.2)) == "0.123 [0.100, 0.200]"
    assert interquartile_mean([[0.0, 1.0], [2.0, 9.0]]) == 1.5, "the middle two of four"
    assert probability_of_improvement([[1.0], [3.0]], [[2.0], [3.0]]) == pytest.approx((0 + 0 + 1 + 0.5) / 4)


# ------------------------------------------------------------------ coverage: 4,000 samples, so a standard error of .35%

DRAWS = {
    "normal": (lambda rng, size: rng.normal(0, 1, size), 0.0),
    "exponential": (lambda rng, size: rng.exponential(1, size), 1.0),
    "bernoulli": (lambda rng, size: (rng.random(size) < 0.9).astype(float), 0.9),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "seeds", "low", "high"),
    [
        ("normal", 3, 0.93, 0.97),
        ("normal", 5, 0.93, 0.97),
        ("normal", 10, 0.93, 0.97),
        # what the docstring admits
        ("exponential", 3, 0.86, 0.91),
        ("exponential", 5, 0.86, 0.91),
        ("exponential", 10, 0.87, 0.92),
        ("bernoulli", 3, 0.25, 0.29),
        ("bernoulli", 5, 0.39, 0.43),
        ("bernoulli", 10, 0.63, 0.68),
    ],
)
def test_coverage_over_seeds(draw: str, seeds: int, low: float, high: float, coverage: Callable[..., float]) -> None:
    make, truth = DRAWS[draw]
    rng = np.random.default_rng(1)
    covered = coverage(lambda: run_interval(make(rng, (seeds, 1))), truth)
    assert low <= covered <= high


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_of_several_arms_together(seeds: int) -> None:
    """Seven arms and one baseline, no true difference: all intervals hold, and no p value is below .05, in 95%."""
    rng = np.random.default_rng(2)
    intervals = tests = 0
    for _ in range(4000):
        arms = rng.normal(size=(8, seeds, 1))
        differences = arms[1:] - arms[0]
        intervals += all(i.low <= 0 <= i.high for i in (run_interval(difference, 7) for difference in differences))
        tests += min(holm([paired_p_value(difference) for difference in differences])) >= 0.05
    assert 0.94 <= intervals / 4000 <= 0.97
    assert tests == intervals, "Holm rejects something if and only if Bonferroni does"
