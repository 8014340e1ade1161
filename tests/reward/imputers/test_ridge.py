"""Ridge regression against least squares with the penalty as rows, on the episodes whose goal was observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rag_graph.reward.imputers.ridge import RIDGE, RidgeImputer
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores


def test_the_coefficients_solve_the_penalised_least_squares(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[tuple[Any, ...]]
) -> None:
    imputer = fitted(right, "ridge").imputer
    assert isinstance(imputer, RidgeImputer)
    scores, _ = planted(64, 0)
    standard = imputer.base.standardise(scores).double()
    mine = scores.observed[:, 0]
    x, y = standard[mine][:, 1:], standard[mine][:, 0]
    centred = x - x.mean(0)
    # Penalty as more rows: sqrt(RIDGE) I against zeros.
    rows = torch.cat([centred, RIDGE**0.5 * torch.eye(7, dtype=torch.float64)])
    expected = torch.linalg.lstsq(rows, torch.cat([y - y.mean(), torch.zeros(7, dtype=torch.float64)])).solution
    assert imputer.coefficients[0, 1:].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert imputer.coefficients[0, 0] == 0, "a goal does not predict itself"
    assert imputer.level[0].item() == pytest.approx((y.mean() - x.mean(0) @ expected).item(), abs=1e-4)


def test_a_goal_that_was_never_observed_is_predicted_by_its_mean(
    fitted: Callable[..., RewardModel], right: list[tuple[Any, ...]]
) -> None:
    imputer = fitted(right, "ridge").imputer  # no episode is of the task `u`
    assert isinstance(imputer, RidgeImputer)
    assert imputer.goals.tolist() == [0, 1]
    assert not imputer.coefficients[1].any()
    assert imputer.level[1] == 0
