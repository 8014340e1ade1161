"""Calibration, leakage, Pareto points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.records import Episode
from rag_graph.reward.arguments import EachEpisode
from rag_graph.reward.diagnostics import (
    Calibration,
    leakage,
    pareto_front,
)
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.reward import GraphReward

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

    for readout, expected in (("flat", 1 / 2), ("expected_goal", 0.2 / 1.2)):
        reward = trained(readout)
        reward.scoring = EachEpisode(lucky)
        reward(**answers)
        reward.learn()
        # One of two answers to `question` is right; the file's gate of .8 lets a fifth of the other through.
        assert reward.metrics()["reward/leakage"] == pytest.approx(expected, abs=1e-4), readout


def test_the_pareto_front_is_what_nothing_beats() -> None:
    points = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.4, 0.5], [0.9, 0.1], [0.5, 0.5], [0.2, 0.2]])
    assert pareto_front(points).tolist() == [True, True, False, True, True, False]
