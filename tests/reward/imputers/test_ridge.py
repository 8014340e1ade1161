"""Ridge regression against brute force: every penalty, every episode left out once, least squares with the penalty as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rag_graph.reward.imputers.ridge import PENALTIES, RidgeImputer
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores

Edge = tuple[Any, ...]


def solve(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Level and coefficients; the level is not penalised."""
    size = x.shape[1]
    columns = np.hstack([np.ones((len(x), 1)), x])
    penalised = np.hstack([np.zeros((size, 1)), penalty**0.5 * np.eye(size)])
    found: np.ndarray = np.linalg.lstsq(
        np.vstack([columns, penalised]), np.concatenate([y, np.zeros(size)]), rcond=None
    )[0]
    return found


def left_out(x: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Sum of squared errors, each episode predicted by the others."""
    total = 0.0
    for row in range(len(x)):
        others = np.arange(len(x)) != row
        found = solve(x[others], y[others], penalty)
        total += float((y[row] - found[0] - x[row] @ found[1:]) ** 2)
    return total


@pytest.mark.parametrize(("readout", "rows"), [("ridge", 64), ("ridge", 20), ("ridge_equal", 64), ("ridge_equal", 20)])
def test_the_penalty_is_the_best_by_leave_one_out(
    readout: str,
    rows: int,
    fitted: Callable[..., RewardModel],
    planted: Callable[..., tuple[Scores, Tensor]],
    right: list[Edge],
) -> None:
    imputer = fitted(right, readout, rows=rows).imputer
    assert isinstance(imputer, RidgeImputer)
    scores, _ = planted(rows, 0)
    standard = imputer.base.standardise(scores).double().numpy()
    mine = scores.observed[:, 0].numpy()
    x, y = standard[mine][:, 2:], standard[mine][:, 0]  # c0 to c5; `u` is never scored in episodes of `t`
    start = np.zeros(6)
    if readout == "ridge_equal":
        equal = np.array([1.0, 1, -1, 1, 1, 1])
        direction = (x - x.mean(0)) @ equal
        start = max(0.0, direction @ (y - y.mean()) / (direction @ direction)) * equal
    left = y - x @ start
    best = min(PENALTIES, key=lambda penalty: left_out(x, left, penalty))
    expected = solve(x, left, best)
    assert imputer.coefficients[0, 2:].tolist() == pytest.approx((start + expected[1:]).tolist(), abs=1e-4)
    assert not imputer.coefficients[0, :2].any(), "a goal does not predict itself"
    assert imputer.level[0].item() == pytest.approx(expected[0], abs=1e-4)


def test_few_goals_shrink_towards_equal_weights_and_many_do_not(
    fitted: Callable[..., RewardModel], error: Callable[[RewardModel], float], right: list[Edge]
) -> None:
    assert error(fitted(right, "ridge_equal", rows=8)) < error(fitted(right, "ridge", rows=8))
    one, two = (fitted(right, name, rows=2000).imputer.coefficients[0] for name in ("ridge", "ridge_equal"))
    assert torch.allclose(one, two, atol=0.02)


def test_a_goal_that_was_never_observed_is_predicted_by_its_mean(
    fitted: Callable[..., RewardModel], right: list[Edge]
) -> None:
    imputer = fitted(right, "ridge").imputer  # no episode is of the task `u`
    assert isinstance(imputer, RidgeImputer)
    assert imputer.goals.tolist() == [0, 1]
    assert not imputer.coefficients[1].any()
    assert imputer.level[1] == 0
