"""Preference pairs teach the imputer (Bradley-Terry)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode, Example
from rag_graph.reward.reward import GraphReward


def episode(name: str, quality: float, task: str = "t") -> Episode:
    return Episode(name, Example(name, task, {"input": "x"}), "", name, scores={"c0": quality, "c1": 0.5})


@pytest.fixture
def preferring(make_graph: Callable[..., AuxiliaryGraph]) -> GraphReward:
    return GraphReward(
        make_graph([]),
        lambda e, nodes=None: dict(e.scores),
        RewardConfig(readout="prior_gnn", reserved=0.0),
        lambda **_: [],
        seed=0,
    )


def test_preferences_teach_the_goal_where_none_was_ever_scored(preferring: GraphReward) -> None:
    """Bradley-Terry: pairs say that more of c0 is better."""
    reward = preferring
    generator = torch.Generator().manual_seed(0)
    for pair in range(100):
        a, b = torch.rand(2, generator=generator).tolist()
        better, worse = max(a, b), min(a, b)
        reward.prefer(episode(f"{pair}a", better), episode(f"{pair}b", worse))
    for update in range(20):
        reward.learn(reward.pay([episode(f"{update}/{k}", k / 8) for k in range(8)]))
    batch = reward.batch_of([episode("high", 0.9), episode("low", 0.1)])
    with torch.no_grad():
        high, low = reward.model.predict_goal(batch.scores).tolist()
    assert high > low + 0.1
    with torch.no_grad():
        loss = reward.model.preference_loss(*(reward.batch_of([episode("e", q)]) for q in (0.9, 0.1)))
    assert loss < 0.5, "below log 2, the loss of not knowing"


def test_preferences_between_tasks_or_without_an_imputer_are_refused(
    preferring: GraphReward, make_graph: Callable[..., AuxiliaryGraph]
) -> None:
    with pytest.raises(ConfigError, match="both must be of one"):
        preferring.prefer(episode("a", 1.0), episode("b", 0.0, "u"))
    plain = GraphReward(make_graph([]), lambda e, nodes=None: {}, RewardConfig(readout="flat"), lambda **_: [], seed=0)
    with pytest.raises(ConfigError, match="learns no imputer"):
        plain.prefer(episode("a", 1.0), episode("b", 0.0))
