"""Product and soft minimum by hand, and the two numbers that bring them to the scale of the goal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.one_direction import OneDirection, product, soft_minimum
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores

SCORES, COUNTS = torch.tensor([[0.5, 0.8, 0.1]]), torch.tensor([[True, True, False]])


def test_by_hand() -> None:
    assert product(SCORES, COUNTS).item() == pytest.approx(0.4)
    mean = (math.exp(-8 * 0.5) + math.exp(-8 * 0.8)) / 2
    assert soft_minimum(SCORES, COUNTS).item() == pytest.approx(-math.log(mean) / 8)
    assert soft_minimum(torch.tensor([[0.3, 0.3]]), torch.ones(1, 2, dtype=torch.bool)).item() == pytest.approx(0.3)
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert product(SCORES, nothing).item() == 1.0
    assert soft_minimum(SCORES, nothing).item() == 0.0


def all_observed(rows: int, seed: int) -> Scores:
    values = torch.rand((rows, 5), generator=torch.Generator().manual_seed(seed))
    observed = torch.ones(rows, 5, dtype=torch.bool)
    observed[:, 1] = False
    return Scores(values, observed, torch.zeros(rows, 5), torch.zeros(rows, dtype=torch.long))


Edges = list[tuple[Any, ...]]
CASES: list[tuple[Edges, Callable[[np.ndarray], np.ndarray]]] = [
    ([("c0", "t", "bounds", 0.5), ("c1", "t", "prerequisite", 0.5)], lambda c: c[:, 0] * c[:, 1]),
    ([("c0", "t", "indicates", 0.5)], lambda c: c[:, 0] * c[:, 1] * c[:, 2]),
    ([("c2", "t", "indicates_low", 0.5)], lambda c: c[:, 0] * c[:, 1] * (1 - c[:, 2])),
]


@pytest.mark.parametrize(("edges", "direction"), CASES, ids=["bounds alone", "all", "turned round"])
def test_which_scores_count_and_the_scale_by_least_squares(
    edges: Edges, direction: Callable[[np.ndarray], np.ndarray], make_graph: Callable[..., AuxiliaryGraph]
) -> None:
    tensors = GraphTensors.of(make_graph(edges))
    imputer, scores = OneDirection(tensors, product), all_observed(30, 0)
    goals = (
        0.2
        + 0.5 * torch.from_numpy(direction(scores.values[:, 2:].numpy()))
        + 0.1 * torch.randn(30, generator=torch.Generator().manual_seed(5))
    )
    scores.values[:, 0] = goals
    scores.observed[20:, 0] = False
    imputer.observe(scores)
    imputer.refit(scores, tensors)
    d, y = direction(scores.values[:, 2:].double().numpy()), goals.double().numpy()
    slope, level = np.polyfit(np.append(d[:20], [0, 1]), np.append(y[:20], [0, 1]), 1)
    found = imputer(scores, tensors)[0][:, 0]
    assert found.tolist() == pytest.approx((level + slope * d).tolist(), abs=1e-4)


def test_it_never_turns_a_direction_round(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "bounds", 0.5)]))
    imputer, scores = OneDirection(tensors, product), all_observed(60, 1)
    scores.values[:, 0] = 1 - scores.values[:, 2]
    imputer.observe(scores)
    imputer.refit(scores, tensors)
    assert imputer(scores, tensors)[0][:, 0].std() < 1e-6, "the mean, whatever c0 is"


def test_gaps_are_filled_from_other_criteria(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: Edges
) -> None:
    """c1 is a copy of c0, which bounds the goal: hidden, the product alone takes its mean, and with EM its copy."""
    scores, _ = planted(400, 0)
    values = scores.values.clone()
    values[:, 3] = values[:, 2]
    values[:, 0] = values[:, 2]
    copies = scores._replace(values=values, observed=torch.arange(8).ne(1).expand(400, 8))
    hidden = copies.without((torch.arange(8) == 2) | copies.is_task)
    errors = []
    for name in ("product", "em_product"):
        model = fitted(right, name, scores=copies)
        for _ in range(5):
            model.refit(copies)
        with torch.no_grad():
            found = model.imputer.predict(hidden, model.graph)[0][:, 0]
        errors.append((found - values[:, 0]).square().mean().sqrt().item())
    assert errors[0] == pytest.approx(values[:, 0].std().item(), rel=0.05)
    assert errors[1] < 0.3 * errors[0]
