"""How failed functions are counted, and when there are too many."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest

from rag_graph.errors import TrainingError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.records import Episode, Example, Item
from rag_graph.reward.failures import failure_metrics, too_many
from rag_graph.reward.reward import GraphReward

OF_TOPIC = Episode("1", Example("1", "topic", {}), "", "")
OF_SUMMARY = Episode("2", Example("2", "summary", {}), "", "")


def test_the_share_is_of_the_episodes_that_the_node_bears_on() -> None:
    graph = load_graph("parcels")
    failed = replace(OF_TOPIC, failed={"topic": "ValueError: no"})
    found = failure_metrics([OF_TOPIC, failed, OF_SUMMARY, OF_SUMMARY], graph, ["well_formed"])
    assert found == {"nodes/well_formed/failed": 0.0, "nodes/topic/failed": 0.5}


def test_a_rubric_bears_on_the_episodes_that_have_items() -> None:
    graph = load_graph("{format: 1, name: r, tasks: {goal: {goal: 1}}, criteria: {rubric: {items: rubric}}}")
    bare = Episode("1", Example("1", "goal", {}), "", "")
    rated = Episode("2", Example("2", "goal", {}, items={"rubric": (Item("polite", 1.0),)}), "", "")
    failed = replace(rated, failed={"rubric": "ValueError: no"})
    assert failure_metrics([bare, bare, rated, failed], graph, ["rubric"]) == {"nodes/rubric/failed": 0.5}
    assert failure_metrics([bare], graph, ["rubric"]) == {}


def test_too_many_says_what_failed() -> None:
    bad = replace(OF_TOPIC, failed={"topic": "ValueError: no"})
    lost = replace(OF_TOPIC, error="KeyError: 'x'")
    assert too_many([], 0.2) == ""
    assert too_many([bad, *[OF_TOPIC] * 4], 0.2) == "", "not more than that"
    said = too_many([bad, bad, lost, OF_TOPIC], 0.2)
    assert said.startswith(
        "scorers failed on 75% of the episodes of an update, more than reward.max_bad_episodes = 0.2"
    )
    assert "node 'topic', 2 times, first: ValueError: no; 1 times, first: KeyError: 'x'" in said


def test_a_judge_that_stays_down_stops_any_training(goals: AuxiliaryGraph) -> None:
    def down(completions: Any) -> list[float]:
        raise TimeoutError("judge did not answer")

    def make(most: float) -> GraphReward:
        mine = {"correct": lambda e: 1.0, "form": down, "length": lambda e: 0.5}
        return GraphReward(goals, mine, {"max_bad_episodes": most, "reserved": 0.0}, reference=None)

    batch = (["p", "q"], ["a", "b"], [[1], [2]])
    reward = make(0.2)
    with pytest.warns(RuntimeWarning, match="node 'form': down .* failed on 2 of 2 episodes.*TimeoutError"):
        paid = reward(*batch)
    assert None not in paid, "the other scores of the episode stand"
    reward.learn()
    assert reward.metrics()["nodes/form/failed"] == 1.0
    assert reward.metrics()["nodes/length/failed"] == 0.0
    assert reward.metrics()["nodes/form/observed"] == 0.0
    with pytest.raises(TrainingError, match="100% of the episodes.*max_bad_episodes = 0.2: node 'form', 2 times, first: TimeoutError: judge did not answer"):  # fmt: skip
        reward(*batch)
    patient = make(1.0)
    with pytest.warns(RuntimeWarning):
        patient(*batch)
    patient.learn()
    assert None not in patient(*batch)


def test_a_log_by_batch_has_the_failures_of_the_batch(goals: AuxiliaryGraph) -> None:
    def picky(episode: Episode) -> float:
        return 1.0 if episode.response == "a" else 1 / 0

    mine = {"correct": lambda e: 1.0, "form": picky, "length": lambda e: 0.5}
    reward = GraphReward(goals, mine, {"max_bad_episodes": 1.0, "reserved": 0.0}, reference=None)
    for answers, failed in ((["a", "a"], 0.0), (["a", "b"], 0.5), (["a", "a"], 0.0)):
        logged: dict[str, float] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            reward(["p", "q"], answers, [[1], [2]], log_metric=logged.__setitem__)
        assert logged["nodes/form/failed"] == failed
        reward.learn()
