"""A planted goal, and models that are fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.imputers.graph_network import HEADS
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import hashed_ngrams


def draw(rows: int, seed: int, share: float = 1.0) -> tuple[Scores, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand((rows, 8), generator=generator)
    c = values[:, 2:]
    true = (c[:, 0] * (0.3 + 0.7 * c[:, 1] - 0.5 * c[:, 2])).clamp(0, 1)
    values[:, 0] = (true + 0.05 * torch.randn(rows, generator=generator)).clamp(0, 1)
    observed = torch.rand((rows, 8), generator=generator) < 0.9
    observed[:, 0] = torch.rand(rows, generator=generator) < share
    observed[:, 1] = False
    return Scores(values, observed, torch.zeros(rows, 8), torch.zeros(rows, dtype=torch.long)), true


@pytest.fixture(scope="session")
def planted() -> Callable[..., tuple[Scores, Tensor]]:
    """rows, seed, share of observed goals -> scores, and the true goal [B].

    The goal is gated by c0, raised by c1, lowered by c2; c3 to c5 are noise. Criteria are observed on 90%.
    """
    return draw


@pytest.fixture(scope="session")
def right() -> list[tuple[Any, ...]]:
    """Facts that say what was planted."""
    return [("c0", "t", "bounds", 0.8), ("c1", "t", "indicates", 0.8), ("c2", "t", "indicates_low", 0.8)]


@pytest.fixture(scope="session")
def shuffled() -> list[tuple[Any, ...]]:
    """The same facts about the wrong nodes."""
    return [("c4", "t", "bounds", 0.8), ("c5", "t", "indicates", 0.8), ("c3", "t", "indicates_low", 0.8)]


@pytest.fixture(scope="session")
def fitted(make_graph: Callable[..., AuxiliaryGraph]) -> Callable[..., RewardModel]:
    """edges, readout, rows, steps, settings -> a model that has seen and been fitted to planted scores."""

    def fit(
        edges: Sequence[tuple[Any, ...]],
        readout: str = "prior_gnn",
        rows: int = 64,
        steps: int = 150,
        scores: Scores | None = None,
        **settings: object,
    ) -> RewardModel:
        graph = make_graph(edges, criteria=6)
        torch.manual_seed(0)
        model = RewardModel(graph, RewardConfig(readout=readout, **settings), hashed_ngrams(list(graph.nodes)))
        scores = draw(rows, 0)[0] if scores is None else scores
        rows = len(scores.tasks)
        model.observe(scores)
        model.refit(scores)
        if model.readout.fit != "gradient" or not steps:
            return model
        optimizer = torch.optim.AdamW(model.parameter_groups(3e-3))
        generator = torch.Generator().manual_seed(0)
        halves = 2.0 * (torch.rand((rows, HEADS), generator=torch.Generator().manual_seed(1)) < 0.5)
        for _ in range(steps):
            loss = model.loss(scores, torch.rand((rows, 8), generator=generator), halves)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.imputer.project()
        return model

    return fit


@pytest.fixture(scope="session")
def error() -> Callable[[RewardModel], float]:
    """Root mean squared error of the hidden goal on new episodes, in units of its deviation: 1 is no better than the mean."""

    def measure(model: RewardModel) -> float:
        scores, true = draw(2000, 99)
        with torch.no_grad():
            return float((model.predict_goal(scores) - true).square().mean().sqrt() / true.std())

    return measure
