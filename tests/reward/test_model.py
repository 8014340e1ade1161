"""Oracles 4 and 5: what a model never reads, and the range of what it fills in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode
from rag_graph.reward.batch import Batch
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.scores import Scores

GRAPH = load_graph("parcels")


@pytest.mark.parametrize("readout", READOUTS)
def test_values_at_unobserved_entries_never_matter(
    readout: str,
    answers: dict[str, Any],
    trained: Callable[..., GraphReward],
    scored: Callable[..., Batch],
) -> None:
    """Oracle 4: NaN where nothing was observed changes no reward, no statistic, no gradient."""
    reward = trained(readout, goal_observed=0.5)
    scores, contexts, _ = scored(reward, answers)
    poisoned = scores._replace(values=torch.where(scores.observed, scores.values, torch.nan))
    with torch.no_grad():
        expected, found = reward.model(scores, 0.3, contexts), reward.model(poisoned, 0.3, contexts)
    for one, two in zip(expected, found, strict=True):
        assert torch.equal(one, two)
    uniform, halves = torch.rand(scores.values.shape), torch.ones(8, 4)
    losses = [reward.model.loss(s, uniform, halves, contexts) for s in (scores, poisoned)]
    assert torch.equal(losses[0], losses[1])
    assert torch.isfinite(losses[0])
    reward.model.observe(poisoned)
    reward.model.refit(poisoned)
    reward.model.settle(poisoned, contexts)
    goal, known = torch.rand(8), torch.arange(8) < 4
    if reward.model.method == "alignment":
        reward.model.align(poisoned, torch.where(known, goal, torch.nan), known)
    assert all(
        torch.isfinite(v).all() for k, v in reward.model.state_dict().items() if "low" not in k and "high" not in k
    )


@pytest.mark.parametrize("readout", ["ridge", "mlp", "gnn", "prior_gnn", "expected_goal"])
def test_a_hidden_goal_sends_no_gradient_to_its_prediction(readout: str, trained: Callable[..., GraphReward]) -> None:
    """Oracle 5."""
    reward = trained(readout)
    task = GRAPH.index["question"]
    values = torch.rand(6, len(GRAPH.nodes))
    values[:, GRAPH.index["complete"]] = 1.0  # as in all answers that were seen
    values.requires_grad_()
    observed = torch.ones(6, len(GRAPH.nodes), dtype=torch.bool)
    observed[:, task] = False
    scores = Scores(values, observed, torch.zeros(6, len(GRAPH.nodes)), torch.full((6,), task))
    predicted = reward.model.imputer(scores, reward.model.graph)[:, :, task]
    (gradient,) = torch.autograd.grad(predicted.sum(), values)
    assert torch.equal(gradient[:, task], torch.zeros(6))
    assert gradient[:, GRAPH.index["grounded"]].abs().sum() > 0, "what is observed must reach the prediction"


@pytest.mark.parametrize("readout", ["ridge", "prior_gnn", "expected_goal", "boosting"])
def test_what_compares_with_the_reference_never_predicts_a_hidden_goal(
    readout: str, answers: dict[str, Any], build_parcels: Callable[..., list[Episode]]
) -> None:
    """Where it is read the goal is open; hidden, both are: nothing may be learned from one to the other."""
    spec = GRAPH.spec.model_dump(by_alias=True)
    spec["criteria"] = {"near": {"metric": "token_f1"}, **spec["criteria"]}
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
    config = RewardConfig(readout=readout, reserved=0.0, fit_steps=2)
    reward = GraphReward(graph, NodeScorer(graph).score, config, build_parcels, seed=3)
    for _ in range(10):
        reward(**answers)
        reward.learn()
    found = reward.batch_of(reward.last_episodes)
    poisoned = found.scores.values.clone()
    poisoned[:, graph.index["near"]] = 0.123
    with torch.no_grad():
        one = reward.model.predict_goal(found.scores, found.contexts)
        two = reward.model.predict_goal(found.scores._replace(values=poisoned), found.contexts)
    assert torch.equal(one, two)


@pytest.mark.parametrize("caution", [0.0, 3.0])
def test_imputed_scores_and_gates_stay_between_0_and_1(caution: float, trained: Callable[..., GraphReward]) -> None:
    reward = trained(goal_observed=0.3, caution=caution)
    rewards = reward.node_rewards(reward.last_episodes)
    for values in (rewards.scores, rewards.gates):
        assert 0 <= values.min() <= values.max() <= 1
