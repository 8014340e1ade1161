"""Evaluation: values recomputed by hand, intervals that cover, errors that say what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rag_graph.errors import DataError
from rag_graph.evaluation.evaluate import evaluate
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.evaluation.statistics import bootstrap_mean, paired_difference, stratified_mean
from rag_graph.graph import load_graph
from rag_graph.records import Episode, Example

SCORER = NodeScorer(load_graph("parcels"))


def always(text: str) -> object:
    def answer(examples: Sequence[Example]) -> list[Episode]:
        return [Episode(example.id, example, "", text) for example in examples]

    return answer


EXAMPLES = [
    Example(str(i), "topic", {"input": "x"}, (label,))
    for i, label in enumerate(["kitchen", "audio", "kitchen", "sport"])
]


def test_values_by_hand() -> None:
    evaluation = evaluate(always("kitchen"), EXAMPLES, SCORER, "abc")  # type: ignore[arg-type]
    found = {result.metric: result for result in evaluation.results}
    assert found["accuracy"].value == 0.5
    assert found["accuracy"].n == 4
    assert found["accuracy"].config_hash == "abc"
    assert found["macro_f1"].value == pytest.approx((2 / 3) / 5)
    assert evaluation.task_scores == {"topic": [1.0, 0.0, 1.0, 0.0]}
    assert evaluation.episodes[0].scores["well_formed"] == 1.0


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(DataError, match="no example to evaluate on"):
        evaluate(always("x"), [], SCORER)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no example has a reference"):
        evaluate(always("x"), [Example("1", "topic", {"input": "x"})], SCORER)  # type: ignore[arg-type]


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        interval = bootstrap_mean(rng.binomial(1, 0.7, size=80), seed=trial, resamples=500)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.89 <= covered / 200 <= 0.99


def test_pairs_stay_together() -> None:
    rng = np.random.default_rng(1)
    before = rng.random(300)
    after = before + 0.1  # each example a tenth better: no uncertainty at all
    interval = paired_difference({"t": before.tolist()}, {"t": after.tolist()})
    assert interval == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="same examples"):
        paired_difference({"t": [1.0]}, {"t": [1.0, 2.0]})


def test_tasks_weigh_the_same_whatever_their_size() -> None:
    assert stratified_mean({"a": [1.0] * 90, "b": [0.0] * 10}).mean == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one value"):
        stratified_mean({"a": []})


def test_your_own_scorers_score_their_nodes() -> None:
    from rag_graph.graph import AuxiliaryGraph, load_graph
    from rag_graph.graph.spec import GraphSpec

    spec = load_graph("parcels").spec.model_dump(by_alias=True)
    spec["criteria"]["kind"] = {"metric": "external", "applies_to": ["topic"]}
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
    episode = Episode("1", Example("1", "topic", {"input": "a kettle"}, ("kitchen",)), "", "kitchen")
    assert "kind" not in NodeScorer(graph).score(episode), "what nobody scores is missing, not zero"
    mine = NodeScorer(graph, scorers={"kind": lambda e: len(e.response) / 10, "topic": lambda e: None})
    assert mine.score(episode)["kind"] == 0.7
    assert "topic" not in mine.score(episode), "a scorer stands in for the metric"
    with pytest.raises(DataError, match="scorer of 'kind' returned 7"):
        NodeScorer(graph, scorers={"kind": lambda e: 7.0}).score(episode)
    with pytest.raises(DataError, match=r"a scorer for 'kid', which graph.*Did you mean 'kind'"):
        NodeScorer(graph, scorers={"kid": lambda e: 1.0})
