"""Calibration, leakage, Pareto points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.records import Episode, NodeRewards
from rag_graph.reward.arguments import EachEpisode
from rag_graph.reward.diagnostics import (
    Calibration,
    leakage,
    mean_goals,
    node_metrics,
    node_scores,
    pareto_front,
    weighted_score,
)
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.scores import Scores

GRAPH = load_graph("parcels")


def test_calibration_measures_bias_and_error() -> None:
    calibration = Calibration(2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        truth = torch.rand((64, 2), generator=generator)
        predicted = torch.stack([truth[:, 0], (truth[:, 1] + 0.2).clamp(max=1)], 1)
        calibration.update(predicted, truth, torch.ones(64, 2, dtype=torch.bool))
    assert calibration.ece.tolist() == pytest.approx([0.0, 0.18], abs=0.01)
    assert calibration.bias.tolist() == pytest.approx([0.0, 0.18], abs=0.01)
    assert calibration.number[0].item() == pytest.approx(64 * 50, rel=0.05), "it remembers about fifty updates"
    before = calibration.ece.clone()
    calibration.update(
        torch.full((4, 2), torch.nan), torch.full((4, 2), torch.nan), torch.zeros(4, 2, dtype=torch.bool)
    )
    assert torch.allclose(calibration.ece, before)


def test_leakage_is_the_share_paid_on_failed_prerequisites(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "prerequisite", 1.0)]))
    scores = torch.tensor([[1.0, 0, 0.0, 0, 0], [1.0, 0, 1.0, 0, 0], [1.0, 0, 0.1, 0, 0]])
    observed = torch.tensor([[True] * 5, [True] * 5, [True, True, False, True, True]])
    flat = scores * torch.tensor([1.0, 0, 0.1, 0, 0])
    assert leakage(tensors, scores, observed, flat) == pytest.approx(1 / 3), (
        "an unobserved prerequisite is not known to fail"
    )
    gated = flat.clone()
    gated[0, 0] = 0.0
    assert leakage(tensors, scores, observed, gated) == 0.0


def test_flat_leaks_and_gates_do_not(trained: Callable[..., GraphReward], answers: dict[str, Any]) -> None:
    def lucky(episode: Episode) -> dict[str, float]:
        """An answer that scores although it stands nowhere in the passage."""
        found = NodeScorer(GRAPH).score(episode)
        return {**found, "question": 1.0, "grounded": 0.0} if episode.response == "zorro" else found

    for readout, expected in (("flat", 1 / 3), ("expected_goal", 0.2 / 2.2)):
        reward = trained(readout)
        reward.scoring = EachEpisode(lucky)
        reward(**answers)
        reward.learn()
        # The summary and one of two answers to `question` are right; the file's gate of .8 lets a fifth of the other through.
        assert reward.metrics()["reward/leakage"] == pytest.approx(expected, abs=1e-4), readout


def test_the_pareto_front_is_what_nothing_beats() -> None:
    points = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.4, 0.5], [0.9, 0.1], [0.5, 0.5], [0.2, 0.2]])
    assert pareto_front(points).tolist() == [True, True, False, True, True, False]


def test_the_score_takes_each_goal_as_it_is_best_known(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """Nodes t, u, c0; goals of 1 and of .5. Of t: one goal observed (.8), one reserved (.6), one predicted (.1); of u: one predicted
    beyond 1, which no score is."""
    tensors = GraphTensors.of(make_graph([], criteria=1))
    nan = float("nan")
    values = torch.tensor([[0.8, nan, 0.5], [nan, nan, 1.0], [nan, nan, 0.0], [nan, nan, nan]])
    observed = torch.tensor([[True, False, True], [False, False, True], [False, False, True], [False] * 3])
    scores = Scores(values, observed, torch.zeros(4, 3), torch.tensor([0, 0, 0, 1]))
    expected, goal = torch.tensor([0.3, 0.2, 0.1, 1.25]), torch.tensor([0.0, 0.6, 0.0, 0.0])
    found = mean_goals(scores, expected, goal, torch.tensor([False, True, False, False]), tensors)
    assert found == {"t": pytest.approx((0.8 + 0.6 + 0.1) / 3), "u": 1.0}
    assert weighted_score(found, tensors) == {"score": pytest.approx((1.0 * 0.5 + 0.5 * 1.0) / 1.5)}
    one = mean_goals(Scores(*(part[:3] for part in scores)), expected[:3], goal[:3], torch.zeros(3).bool(), tensors)
    assert one == {"t": pytest.approx((0.8 + 0.2 + 0.1) / 3)}, "of the tasks that occur"
    assert weighted_score({}, tensors) == {}
    assert node_scores(scores, tensors) == {"nodes/t/score": pytest.approx(0.8), "nodes/c0/score": pytest.approx(0.5)}


def test_what_was_observed_is_a_share_of_all_answers_paid_or_not() -> None:
    rows = torch.zeros(4, 2)
    observed = torch.tensor([[True, True], [False, True], [False, True], [False, False]])
    paid = torch.tensor([True, False, False, True])
    rewards = NodeRewards(("goal", "form"), rows, observed, rows + 1, rows + 0.5, rows + 1, paid)
    in_play = torch.tensor([[True, True], [True, True], [True, True], [True, False]])
    found = node_metrics(rewards, in_play, Calibration(2))
    assert (found["nodes/goal/observed"], found["nodes/form/observed"]) == (0.25, 1.0)
