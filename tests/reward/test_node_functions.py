"""One function per node: together they are the reward, and an episode is scored and learned from once."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode
from rag_graph.reward.arguments import EachEpisode
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.reward import GraphReward


def summed(functions: list[Any], answers: dict[str, Any]) -> list[float | None]:
    """The sum over the functions, as a trainer takes it: None counts nothing, and is the sum of nothing but None."""
    columns = zip(*(function(**answers) for function in functions), strict=True)
    known = [[value for value in row if value is not None] for row in columns]
    return [sum(row) if row else None for row in known]


@pytest.mark.parametrize("readout", READOUTS)
def test_the_functions_sum_to_the_reward(
    readout: str, answers: dict[str, Any], trained: Callable[..., GraphReward]
) -> None:
    reward = trained(readout, goal_observed=0.5, auxiliary=0.2)
    expected, found = reward(**answers), summed(reward.node_functions(), answers)
    assert [value is None for value in found] == [value is None for value in expected]
    assert [value or 0.0 for value in found] == pytest.approx([value or 0.0 for value in expected], abs=1e-5)


def test_only_nodes_that_can_pay_have_a_function(
    make_graph: Callable[..., AuxiliaryGraph], answers: dict[str, Any], make_reward: Callable[..., GraphReward]
) -> None:
    alone = [function.__name__ for function in make_reward("ridge").node_functions()]
    assert sorted(alone) == ["question", "sentiment", "summary", "topic"]
    with_eta = [function.__name__ for function in make_reward(auxiliary=0.3).node_functions()]
    assert {"question", "well_formed", "grounded"} <= set(with_eta)
    assert "archive" not in with_eta, "a context is not scored"
    (topic, *_) = (one for one in make_reward("ridge").node_functions() if one.__name__ == "topic")
    assert [value is not None for value in topic(**answers)] == [True, True] + [False] * 6, (
        "it bears on its own episodes"
    )


class Counting:
    """A scorer that counts, and gives another number each time."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, episode: Episode, nodes: Any = None) -> dict[str, float]:
        self.calls[episode.response] += 1
        return {episode.example.task: self.calls.total() % 7 / 7, "well_formed": 1.0}


def test_a_batch_is_scored_once_and_learned_from_once(
    answers: dict[str, Any], make_reward: Callable[..., GraphReward]
) -> None:
    reward, counting = make_reward(), Counting()
    reward.scoring = EachEpisode(counting)
    functions = reward.node_functions()
    for update in range(1, 4):
        # The policy may write the same again: it is another batch, and scored as one.
        for function in functions:
            function(**answers)
        assert set(counting.calls.values()) == {update}
        assert len(reward._kept) == 8
        reward.learn()
        assert len(reward.learning.memory) == 8 * update
    other = answers | {"completions": [f"{text} !" for text in answers["completions"]]}
    functions[0](**answers)
    functions[1](**other)
    assert counting.calls["kitchen !"] == 1, "a function that is asked about another batch reads that one"


def test_they_are_called_as_trl_calls_a_reward(
    make_reward: Callable[..., GraphReward], answers: dict[str, Any]
) -> None:
    logged: dict[str, float] = {}
    reward = make_reward()
    reward(**answers)
    reward.learn()
    functions = reward.node_functions()
    assert len({function.__name__ for function in functions}) == len(functions)
    assert not any(inspect.iscoroutinefunction(function) for function in functions)
    found = functions[0](**answers, log_metric=logged.__setitem__, trainer_state=None)
    assert len(found) == 8
    assert "reward/utility" in logged
    assert functions[0](**{name: [] for name in answers}) == []
