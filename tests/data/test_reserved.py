"""Which examples are reserved: always the same ones, of goal tasks only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rag_graph.config import RewardConfig
from rag_graph.data.reserved import draw, is_reserved
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example
from rag_graph.reward.reward import GraphReward

EXAMPLES = [Example(str(i), "t", {"input": "x"}, ("y",)) for i in range(5000)]


def test_draws_are_uniform_and_differ_by_seed_and_by_what_is_asked() -> None:
    numbers = [draw(0, "a", str(i)) for i in range(5000)]
    assert sum(numbers) / 5000 == pytest.approx(0.5, abs=0.02)
    assert [draw(0, "a", str(i)) for i in range(5000)] == numbers
    assert draw(1, "a", "0") != numbers[0] != draw(0, "b", "0")


def test_the_data_and_the_reward_reserve_the_same_examples(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    graph = make_graph([])
    found = [is_reserved(example, graph, 0.1, 7) for example in EXAMPLES]
    assert sum(found) / 5000 == pytest.approx(0.1, abs=0.015)
    reward = GraphReward(graph, lambda episode, nodes: {}, RewardConfig(reserved=0.1), lambda *_, **__: [], 7)
    assert [reward.is_reserved(Episode("1", example, "", "")) for example in EXAMPLES] == found


def test_a_task_without_a_goal_has_no_secret(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    spec = make_graph([]).spec.model_dump(by_alias=True)
    spec["tasks"]["t"]["goal"] = 0.0
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
    assert not any(is_reserved(example, graph, 0.9, 0) for example in EXAMPLES[:200])
