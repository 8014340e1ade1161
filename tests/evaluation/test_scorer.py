"""From an episode to the scores of its nodes: weighted means, what is not observed, own scorers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rag_graph.errors import DataError
from rag_graph.evaluation.scorer import FrozenClassifier, NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example


def test_your_own_scorers_score_their_nodes() -> None:
    spec = load_graph("parcels").spec.model_dump(by_alias=True)
    spec["criteria"]["kind"] = {"metric": "external", "applies_to": ["topic"]}
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
    episode = Episode("1", Example("1", "topic", {"input": "a kettle"}, ("kitchen",)), "", "kitchen")
    assert "kind" not in NodeScorer(graph).score(episode), "what nobody scores is missing, not zero"
    mine = NodeScorer(graph, scorers={"kind": lambda e: len(e.response) / 10, "topic": lambda e: None})
    assert mine.score(episode)["kind"] == 0.7
    assert "topic" not in mine.score(episode), "a scorer stands in for the metric"
    with pytest.raises(DataError, match=r"node 'kind': <lambda> .* returned 7.0. Scores are in \[0, 1\]"):
        NodeScorer(graph, scorers={"kind": lambda e: 7.0}).score(episode)
    with pytest.raises(DataError, match=r"a scorer for 'kid', which graph.*Did you mean 'kind'"):
        NodeScorer(graph, scorers={"kid": lambda e: 1.0})


@pytest.mark.parametrize("value", ["0.5", (0.5,), 1.5, float("nan"), torch.ones(2)])
def test_a_scorer_that_returns_nonsense_is_named(value: Any) -> None:
    scorer = NodeScorer(load_graph("parcels"), scorers={"well_formed": lambda episode: value})
    with pytest.raises(DataError, match=r"node 'well_formed': <lambda> .* returned"):
        scorer.score(Episode("e", Example("e", "topic", {"input": "x"}), "x", "y"))


def test_a_task_is_the_weighted_mean_of_its_observed_metrics() -> None:
    task = {"kind": "generation", "metrics": {"exact_match": 3.0, "token_f1": 1.0, "format": 0.0}, "prompt": "{input}"}
    spec = {
        "format": 1,
        "name": "g",
        "tasks": {"t": task, "u": task},
        "criteria": {
            "brief": {"metric": "length_band", "args": {"most": 2}},
            "other": {"metric": "format", "applies_to": ["u"]},
        },
    }
    scorer = NodeScorer(AuxiliaryGraph(GraphSpec.model_validate(spec)))
    episode = Episode("1", Example("1", "t", {"input": "x"}, ("red kettle",)), "", "kettle of red")
    assert scorer.score(episode) == {"t": pytest.approx((3 * 0 + 1 * 0.8) / 4), "brief": 0.5}
    assert scorer.score(episode, ["brief"]) == {"brief": 0.5}
    unknown = Episode("2", Example("2", "t", {"input": "x"}), "", "kettle of red")
    assert scorer.score(unknown) == {"brief": 0.5}, "without a reference the task is not observed"


def test_a_scorer_that_fails_is_named() -> None:
    episode = Episode("1", Example("1", "topic", {"input": "x"}), "", "y")
    with pytest.raises(DataError, match="the scorer of 'well_formed' failed: ZeroDivisionError: division by zero"):
        NodeScorer(load_graph("parcels"), scorers={"well_formed": lambda e: 1 / 0}).score(episode)


def test_a_classifier_needs_two_labels_and_sums_to_one() -> None:
    examples = [Example(str(i), "t", {"input": f"{word} {i}"}, (word,)) for i, word in enumerate(["up", "down"] * 3)]
    model = FrozenClassifier(examples)
    assert list(model.labels) == ["down", "up"]
    assert sum(model.probabilities("up")) == pytest.approx(1)
    assert model.probabilities("up")[1] > 0.5 > model.probabilities("down")[1]
    with pytest.raises(DataError, match="a classifier of 't' needs training examples of at least two labels"):
        FrozenClassifier(examples[::2])
    graph = load_graph("parcels")
    wanted = {c.of for c in graph.spec.criteria.values() if c.metric == "label_preserved"}
    assert NodeScorer.classified_tasks(graph) == wanted


def test_without_a_reference_a_task_is_not_observed() -> None:
    """What a metric without a reference says is then not the score of the task."""
    task = {"fields": {"input": "a", "reference": "b"}, "metrics": {"exact_match": 1, "format": 1, "token_f1": 0}}
    scorer = NodeScorer(
        AuxiliaryGraph.build(
            {"t": task, "u": {"metrics": {"format": 1, "token_f1": 0}}}, {"form": {"metric": "format"}}
        )
    )
    assert scorer.score(Episode("1", Example("1", "t", {"input": "x"}), "", "y")) == {"form": 1.0}
    assert scorer.score(Episode("1", Example("1", "t", {"input": "x"}, ("z",)), "", "y")) == {"t": 0.5, "form": 1.0}
    assert scorer.score(Episode("1", Example("1", "u", {"input": "x"}), "", "y")) == {"u": 1.0, "form": 1.0}
