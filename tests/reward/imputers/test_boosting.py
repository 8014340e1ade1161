"""Boosted trees: those of scikit-learn on the scores in play, a gap as a value of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from rag_graph.reward.imputers.boosting import LEAST, BoostingImputer
from rag_graph.reward.model import RewardModel
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.scores import Scores

Edge = tuple[Any, ...]


def test_it_is_the_fit_of_scikit_learn(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[Edge]
) -> None:
    model = fitted(right, "boosting", rows=200)
    scores, _ = planted(200, 0)
    mine = scores.observed[:, 0]
    x = torch.where(scores.observed, scores.values, torch.nan)[:, 2:].numpy()
    trees = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=4, min_samples_leaf=20, l2_regularization=1.0, random_state=0
    ).fit(x[mine], scores.values[mine, 0].numpy())
    found = model.imputer(scores, model.graph)[0][:, 0]
    assert found.tolist() == pytest.approx(trees.predict(x).tolist(), abs=1e-5)


def test_it_predicts_the_mean_of_few_goals_and_better_from_many(
    fitted: Callable[..., RewardModel], error: Callable[[RewardModel], float], right: list[Edge]
) -> None:
    few = fitted(right, "boosting", rows=LEAST - 1)
    assert isinstance(few.imputer, BoostingImputer)
    assert few.imputer.trees == {}
    assert error(fitted(right, "boosting", rows=400)) < 0.6


def test_a_reward_taken_back_grows_its_trees_again(
    answers: dict[str, Any], trained: Callable[..., GraphReward], make_reward: Callable[..., GraphReward]
) -> None:
    first, second = trained("boosting"), make_reward("boosting")
    second.load_state_dict(first.state_dict())
    assert isinstance(second.model.imputer, BoostingImputer)
    assert second.model.imputer.trees
    expected = first.predict_goal(first.last_episodes)
    assert [one.mean for one in second.predict_goal(first.last_episodes)] == [one.mean for one in expected]
    assert len({one.mean for one in expected}) > 2, "right and wrong answers are told apart"
