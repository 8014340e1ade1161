"""Means and intervals: coverage, pairs, and the numbers of rliable and scipy."""

from __future__ import annotations

import numpy as np
import pytest

from rag_graph.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    run_interval,
    stratified_mean,
)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        interval = bootstrap_mean(rng.binomial(1, 0.7, size=80), seed=trial, resamples=500)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.89 <= covered / 200 <= 0.99


def test_pairs_stay_together() -> None:
    rng = np.random.default_rng(1)
    before = rng.random(300)
    after = before + 0.1  # each example a tenth better: no uncertainty at all
    interval = paired_difference({"t": before.tolist()}, {"t": after.tolist()})
    assert interval == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="same examples"):
        paired_difference({"t": [1.0]}, {"t": [1.0, 2.0]})


def test_tasks_weigh_the_same_whatever_their_size() -> None:
    assert stratified_mean({"a": [1.0] * 90, "b": [0.0] * 10}).mean == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one value"):
        stratified_mean({"a": []})


def test_numbers_equal_rliables() -> None:
    from rliable import metrics

    rng = np.random.default_rng(0)
    ours, theirs = rng.uniform(size=(7, 3)), rng.uniform(size=(5, 3)).round(1)
    ours[:2] = theirs[:2]  # ties
    assert interquartile_mean(ours) == pytest.approx(metrics.aggregate_iqm(ours), abs=1e-12)
    assert probability_of_improvement(ours, theirs) == pytest.approx(
        metrics.probability_of_improvement(ours, theirs), abs=1e-12
    )


def test_the_interval_equals_scipys_bootstrap_of_whole_runs() -> None:
    from scipy.stats import bootstrap

    scores = np.random.default_rng(0).normal(size=(9, 4))
    found = run_interval(scores, resamples=20_000)
    theirs = bootstrap(
        (scores.mean(1),), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    assert found.mean == pytest.approx(scores.mean())
    assert [found.low, found.high] == pytest.approx(list(theirs.confidence_interval), abs=0.02)


def test_one_run_has_no_interval() -> None:
    assert np.isnan(run_interval([[0.5, 0.7]]).low)
    assert run_interval([[0.5, 0.7]]).mean == pytest.approx(0.6)
    with pytest.raises(ValueError, match="at least one run"):
        run_interval([])


def test_values_of_an_interval_by_hand() -> None:
    assert bootstrap_mean([0.25] * 7) == Interval(0.25, 0.25, 0.25)
    assert str(Interval(0.12345, 0.1, 0.2)) == "0.123 [0.100, 0.200]"
    assert interquartile_mean([[0.0, 1.0], [2.0, 9.0]]) == 1.5, "the middle two of four"
    assert probability_of_improvement([[1.0], [3.0]], [[2.0], [3.0]]) == pytest.approx((0 + 0 + 1 + 0.5) / 4)
