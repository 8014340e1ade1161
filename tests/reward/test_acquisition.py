"""What a score is worth: by hand where everything is linear and normal, and by drawing where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.acquisition import values_of_scores
from rag_graph.reward.imputers.evidence import EvidenceImputer
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings

GRAPH = AuxiliaryGraph.build(
    name="market",
    tasks={"goal": {"goal": 1.0, "metrics": {"external": 1.0}}},
    criteria={name: {"metric": "external"} for name in ("free", "good", "twin", "noise")},
    edges=[("free", "goal", "indicates"), ("good", "goal", "indicates"), ("twin", "goal", "indicates")],
)
GOAL, FREE, GOOD, TWIN, NOISE = range(5)


def world(rows: int, seed: int = 0) -> Tensor:
    """[rows, 5] goal, free, good, a noisy copy of good, noise; all about normal."""
    free, good, noise, copied, rest = torch.randn((5, rows), generator=torch.Generator().manual_seed(seed))
    goal = 0.5 * free + 0.8 * good + 0.3 * rest
    return 0.5 + 0.1 * torch.stack([goal, free, good, good + 0.3 * copied, noise], -1)


@pytest.fixture(scope="module")
def model() -> RewardModel:
    found = RewardModel(GRAPH, RewardConfig(), TextEmbeddings().of_graph(GRAPH))
    values = world(2000)
    scores = seen(values, GOAL, FREE, GOOD, TWIN, NOISE)
    found.observe(scores)
    found.refit(scores, 25)
    return found


def seen(values: Tensor, *nodes: int) -> Scores:
    observed = torch.zeros(values.shape, dtype=torch.bool)
    observed[:, list(nodes)] = True
    return Scores(values, observed, torch.zeros_like(values), torch.zeros(len(values), dtype=torch.long))


def values(
    model: RewardModel, shown: Scores, price: tuple[float, ...] = (1, 1, 1, 1, 1), horizon: float = 0.0
) -> Tensor:
    assert isinstance(model.imputer, EvidenceImputer)
    prices = torch.tensor([price], dtype=torch.float32).expand_as(shown.values)
    return values_of_scores(model.imputer, shown, model.graph, prices, horizon)


def test_a_criterion_is_worth_the_variance_that_it_explains(model: RewardModel) -> None:
    found = values(model, seen(world(50, 1), FREE), (1, 0, 1, 0, 1))
    assert found[:, GOOD].mean().item() == pytest.approx((0.08**2), rel=0.1)
    assert found[:, NOISE].max().item() < 0.02 * 0.08**2
    assert found[:, GOAL].mean().item() == pytest.approx(0.08**2 + 0.03**2, rel=0.1), "the goal explains itself"
    assert (found[:, [FREE, TWIN]] == 0).all(), "seen already, and not for sale"


def test_of_two_that_say_the_same_the_second_is_worth_little(model: RewardModel) -> None:
    alone = values(model, seen(world(50, 1), FREE), (1, 0, 0, 1, 1))[:, TWIN].mean()
    both = values(model, seen(world(50, 1), FREE), (1, 0, 1, 1, 1))
    assert alone.item() == pytest.approx(0.08**2 / 1.09, rel=0.15)
    assert both[:, TWIN].mean() < 0.15 * alone
    cheap = values(model, seen(world(50, 1), FREE), (1, 0, 100, 1, 1))
    assert cheap[:, TWIN].mean() == pytest.approx(alone.item(), rel=1e-3), "the cheaper of the two comes first"


def test_what_is_seen_lowers_the_goals_own_value(model: RewardModel) -> None:
    much = values(model, seen(world(50, 1), FREE, GOOD, TWIN, NOISE))[:, GOAL].mean()
    assert much.item() == pytest.approx(0.03**2, rel=0.2)


def test_a_goal_teaches_less_the_more_is_known(model: RewardModel) -> None:
    few = RewardModel(GRAPH, RewardConfig(), TextEmbeddings().of_graph(GRAPH))
    taught = seen(world(20), GOAL, FREE, GOOD, TWIN, NOISE)
    few.observe(taught)
    few.refit(taught, 25)
    shown = seen(world(50, 1), FREE, GOOD, TWIN, NOISE)
    gain = [(values(one, shown, horizon=100.0) - values(one, shown))[:, GOAL].mean() for one in (few, model)]
    assert gain[0] > 20 * gain[1] > 0


def test_a_failed_bound_makes_the_others_worth_less() -> None:
    """A goal that is the least of two: where one is 0 the other says nothing."""
    graph = AuxiliaryGraph.build(
        name="least",
        tasks={"goal": {"goal": 1.0, "metrics": {"external": 1.0}}},
        criteria={"a": {"metric": "external"}, "b": {"metric": "external"}},
        edges=[("a", "goal", "bounds"), ("b", "goal", "bounds")],
    )
    found = RewardModel(graph, RewardConfig(), TextEmbeddings().of_graph(graph))
    parts = torch.rand((500, 2), generator=torch.Generator().manual_seed(0))
    rows = torch.cat([parts.amin(-1, keepdim=True), parts], -1)
    scores = seen(rows, 0, 1, 2)
    found.observe(scores)
    found.refit(scores, 25)
    shown = seen(torch.tensor([[0.0, 0.02, 0.5], [0.0, 0.98, 0.5]]), 1)
    assert isinstance(found.imputer, EvidenceImputer)
    worth = values_of_scores(found.imputer, shown, found.graph, torch.tensor([[1.0, 0.0, 1.0]] * 2), 0.0)[:, 2]
    assert worth[0] < 0.2 * worth[1]
