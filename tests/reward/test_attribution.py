"""Attribution: Shapley values and gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rag_graph.errors import ConfigError
from rag_graph.records import ContextNode, Evidence
from rag_graph.reward.attribution import gradient_attribution, shapley_attribution
from rag_graph.reward.imputers.graph_network import GraphImputer
from rag_graph.reward.reward import GraphReward


def game(x: torch.Tensor) -> torch.Tensor:
    """A product, a sum and a threshold: nothing linear about it."""
    return x[:, 0] * x[:, 1] + x[:, 2] ** 2 - (x[:, 3] > 0.5).float() * x[:, 0]


def test_shapley_equals_all_orders_and_is_efficient() -> None:
    scores, baseline = torch.tensor([0.9, 0.4, 0.7, 0.8, 0.3]), torch.tensor([0.2, 0.5, 0.1, 0.3, 0.3])
    found = shapley_attribution(game, scores, baseline, [0, 1, 2, 3])
    expected = torch.zeros(5)
    for order in itertools.permutations(range(4)):
        at = baseline.clone()
        at[4] = scores[4]
        for node in order:
            before = game(at[None])
            at[node] = scores[node]
            expected[node] += (game(at[None]) - before)[0] / math.factorial(4)
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.sum().item() == pytest.approx((game(scores[None]) - game(baseline[None])).item(), abs=1e-5)


def test_gradient_is_exact_where_the_reward_is_linear() -> None:
    weights = torch.tensor([0.5, -1.0, 2.0])
    scores, baseline = torch.tensor([0.9, 0.4, 0.7]), torch.tensor([0.2, 0.5, 0.1])

    def linear(x: torch.Tensor) -> torch.Tensor:
        return x @ weights

    exact = shapley_attribution(linear, scores, baseline, range(3))
    assert torch.allclose(gradient_attribution(linear, scores, baseline), exact, atol=1e-5)


def test_more_players_than_can_be_computed_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"2\^13.*method='gradient'"):
        shapley_attribution(game, torch.zeros(13), torch.zeros(13), range(13))


@pytest.mark.parametrize("readout", ["flat", "gated_fixed", "prior_gnn", "expected_goal"])
def test_the_attribution_of_an_episode_sums_to_its_reward_over_the_mean(
    readout: str, trained: Callable[..., GraphReward]
) -> None:
    reward = trained(readout, goal_observed=0.5)
    for episode in reward.last_episodes:
        found = reward.attribute(episode)
        scores = reward.batch_of([episode]).scores
        at_mean = scores._replace(values=torch.where(scores.observed, reward.model.imputer.base.means, scores.values))
        with torch.no_grad():
            total, base = (reward.model(one, reward.auxiliary).total.item() for one in (scores, at_mean))
        assert sum(found.values()) == pytest.approx(total - base, abs=1e-4)
        assert set(reward.attribute(episode, "gradient")) == set(found)
        hidden = {name for name in found if name not in episode.scores}
        assert all(found[name] == 0 for name in hidden), "what was not observed follows from what was"
    with pytest.raises(ConfigError, match="'shapley' or 'gradient'"):
        reward.attribute(episode, "guess")


def test_the_attribution_is_of_the_reward_that_was_paid_with_what_was_retrieved(
    trained: Callable[..., GraphReward], answers: dict[str, Any]
) -> None:
    """A graph network reads the passages: an attribution that leaves them out is of another reward."""
    reward = trained("prior_gnn", goal_observed=0.0)
    assert isinstance(reward.model.imputer, GraphImputer)
    with torch.no_grad():
        reward.model.imputer.heads.weight.copy_(
            torch.linspace(-1, 1, reward.model.imputer.heads.weight.numel()).view(4, -1)
        )
    context = ContextNode("archive/1", "archive", "", "ben bought a red kettle .")
    reward(**answers)
    episode = replace(reward.take_kept()[4].episode, evidence=(Evidence(context, 1.0, 1),))
    found = reward.attribute(episode)
    batch = reward.batch_of([episode])
    at_mean = torch.where(batch.scores.observed, reward.model.imputer.base.means, batch.scores.values)
    with torch.no_grad():
        total = reward.model(batch.scores, 0.0, batch.contexts).total
        base = reward.model(batch.scores._replace(values=at_mean), 0.0, batch.contexts).total
        without = reward.model(batch.scores, 0.0).total
    assert sum(found.values()) == pytest.approx((total - base).item(), abs=1e-4)
    assert (total - without).abs() > 1e-3, "the passage counts"


def test_the_node_that_is_to_blame_is_named(trained: Callable[..., GraphReward], answers: dict[str, Any]) -> None:
    reward = trained()
    reward(**answers)
    wrong = next(one.episode for one in reward.take_kept() if one.episode.response == "zorro")
    found = reward.attribute(wrong)
    assert min(found, key=found.__getitem__) in ("grounded", "question")
