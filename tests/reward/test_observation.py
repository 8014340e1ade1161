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
from rag_graph.reward.arguments import EachEpisode
from rag_graph.reward.reward import GraphReward

GRAPH = load_graph("parcels")


def test_a_scorer_that_cannot_leave_nodes_out_is_refused(build_parcels: Callable[..., list[Episode]]) -> None:
    with pytest.raises(ConfigError, match=r"score\(episode, nodes\).*NodeScorer"):
        GraphReward(GRAPH, lambda episode: {}, RewardConfig(), build_parcels)


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
            graph, NodeScorer(graph).score, RewardConfig(goal_observed=share, reserved=0.0), build_parcels
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
    reward.scoring = EachEpisode(brittle)
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
        reward = GraphReward(graph, scorer.score, RewardConfig(**{"reserved": 0.0, **settings}), build_parcels, seed=3)
        reward(**answers)
        reward.learn()
        assert all(("judge" in episode.scores) == seen for episode in reward.last_episodes if not episode.error)
        if "reserved" in settings:
            assert all(episode.reserved for episode in reward.last_episodes), "the audit itself sees it"


@pytest.mark.parametrize(("observed", "reserved"), [(0.3, 0.05), (1.0, 0.2), (0.0, 0.4), (0.5, 0.0)])
def test_probability_is_an_inclusion_probability(
    observed: float, reserved: float, build_parcels: Callable[..., list[Episode]]
) -> None:
    """Horvitz-Thompson over logged episodes gives the mean goal, over all known scores and over those of either role. Each example has three
    answers, two of them alike; answers that are alike have one draw."""
    config = RewardConfig(goal_observed=observed, reserved=reserved)

    def score(episode: Episode, nodes: Any = None) -> dict[str, float]:
        return {"topic": 0.9 if episode.response == "right" else 0.3}

    reward = GraphReward(GRAPH, score, config, build_parcels, seed=5)
    episodes = reward.observe(
        [
            Episode(f"1/{i}", Example(f"e{i}", "topic", {"input": "x"}, ("r",)), "p", answer)
            for i in range(8000)
            for answer in ("right", "wrong", "wrong")
        ]
    )
    mean = 0.5

    def estimate(found: list[tuple[float, float]]) -> float:
        return sum(value / probability for value, probability in found) / len(episodes)

    known = [(value, e.probability) for e in episodes for value in {**e.scores, **e.reserved}.values()]
    assert estimate(known) == pytest.approx(mean, abs=0.03)
    shown, kept_back = (1 - reserved) * observed, reserved
    if shown:
        assert estimate([(e.scores["topic"], shown) for e in episodes if e.scores]) == pytest.approx(mean, abs=0.03)
    if kept_back:
        audits = [(e.reserved["topic"], kept_back) for e in episodes if e.reserved]
        assert estimate(audits) == pytest.approx(mean, abs=0.05)
    assert all(e.probability == pytest.approx(shown + kept_back) for e in episodes[:3])
