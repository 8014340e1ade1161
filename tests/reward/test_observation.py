"""What is observed, hidden and reserved: by scorers that see no hidden reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example
from rag_graph.reward.reward import GraphReward

GRAPH = load_graph("parcels")


def test_a_scorer_that_cannot_leave_nodes_out_is_refused(build_parcels: Callable[..., list[Episode]]) -> None:
    with pytest.raises(ConfigError, match=r"score\(episode, nodes\).*NodeScorer"):
        GraphReward(GRAPH, RewardConfig(), lambda episode: {}, build_parcels)


def test_the_share_of_observed_goals_is_what_was_asked(
    make_reward: Callable[..., GraphReward], examples: dict[str, Example]
) -> None:
    reward = make_reward(goal_observed=0.3)
    episodes = [Episode(f"{i}", examples["a"], "", "kitchen") for i in range(5000)]
    share = sum(reward.goal_is_observed(episode) for episode in episodes) / 5000
    assert share == pytest.approx(0.3, abs=0.03)


def test_what_compares_with_the_reference_is_hidden_with_the_goal(
    answers: dict[str, Any], build_parcels: Callable[..., list[Episode]]
) -> None:
    spec = GRAPH.spec.model_dump(by_alias=True)
    spec["criteria"] = {**spec["criteria"], "near": {"metric": "token_f1"}}
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
    for share, seen in ((0.0, False), (1.0, True)):
        reward = GraphReward(
            graph, RewardConfig(goal_observed=share, reserved=0.0), NodeScorer(graph).score, build_parcels
        )
        reward(**answers)
        reward.learn()
        assert all(("near" in episode.scores) == seen for episode in reward.last_episodes)
        assert all("well_formed" in episode.scores for episode in reward.last_episodes)


def test_a_scorer_that_fails_spoils_its_episode_only(
    answers: dict[str, Any], trained: Callable[..., GraphReward]
) -> None:
    reward = trained()

    def brittle(episode: Episode, nodes: Any = None) -> dict[str, float]:
        if episode.response == "zorro":
            raise ZeroDivisionError("no words")
        return NodeScorer(GRAPH).score(episode, nodes)

    expected = reward(**answers)
    reward.take_kept()
    reward.score_episode = brittle
    paid = reward(**answers)
    assert paid[5] is None
    assert [value for row, value in enumerate(paid) if row != 5] == [
        value for row, value in enumerate(expected) if row != 5
    ]
    reward.learn()
    assert [episode.error for episode in reward.last_episodes if episode.error] == ["ZeroDivisionError: no words"]


def test_your_own_scorers_see_no_reference_of_a_hidden_goal(
    answers: dict[str, Any], build_parcels: Callable[..., list[Episode]]
) -> None:
    spec = GRAPH.spec.model_dump(by_alias=True)
    spec["criteria"] = {**spec["criteria"], "judge": {"metric": "external"}}
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))

    def judge(episode: Episode) -> float | None:
        return float(episode.response in episode.example.references) if episode.example.references else None

    scorer = NodeScorer(graph, scorers={"judge": judge})
    for settings, seen in (({"goal_observed": 0.0}, False), ({"reserved": 0.99}, False), ({}, True)):
        reward = GraphReward(graph, RewardConfig(**{"reserved": 0.0, **settings}), scorer.score, build_parcels, seed=3)
        reward(**answers)
        reward.learn()
        assert all(("judge" in episode.scores) == seen for episode in reward.last_episodes if not episode.error)
        if "reserved" in settings:
            assert all(episode.reserved for episode in reward.last_episodes), "the audit itself sees it"
