"""A question as an example of a task, and what an answer says of itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rag_graph.errors import ConfigError
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import load_graph
from rag_graph.records import Episode, Example, NodeRewards
from rag_graph.runs.answer import Answer, asked_example

TASKS = load_graph("parcels").spec.tasks


def test_a_question_is_of_the_first_task_that_asks_one() -> None:
    found = asked_example(TASKS, "who ?", None, "ben came .")
    assert (found.id, found.task) == ("asked", "question")
    assert found.inputs == {"input": "ben came .", "question": "who ?"}
    assert asked_example(TASKS, "a text", "topic", None).inputs == {"input": "a text"}


def test_functions_that_need_a_reference_observe_nothing_of_a_question() -> None:
    example = asked_example(TASKS, "where is it from ?", "question", "ben came from oslo .")

    def found(score: Any) -> dict[str, float]:
        scorer = NodeScorer(load_graph("parcels"), scorers={"question": score})
        return scorer.score(Episode("1", example, "?", "oslo"), ["question"])

    assert found(lambda completions, reference: [float(reference[0] in completions[0])]) == {}
    assert found(lambda completions, **columns: [float(columns["reference"][0] == completions[0])]) == {}
    assert found(lambda episode: float(episode.response == episode.example.references[0])) == {}
    assert found(lambda episode: 0.5) == {"question": 0.5}
    assert NodeScorer(load_graph("parcels")).score(Episode("1", example, "?", "oslo"), ["question"]) == {}


def test_a_passage_for_a_task_without_a_question_is_refused() -> None:
    with pytest.raises(ConfigError, match="task 'topic' asks no question"):
        asked_example(TASKS, "a text", "topic", "a passage")
    with pytest.raises(ConfigError, match="task topik: no such task in this run. Did you mean 'topic'"):
        asked_example(TASKS, "a text", "topik", None)


def test_scores_and_shares_of_the_nodes_that_bear_on_it() -> None:
    def row(*values: float) -> torch.Tensor:
        return torch.tensor([values])

    weights, gates, paid = row(1.0, 0.5, 0.0, 0.0), torch.ones(1, 4), torch.tensor([True])
    rewards = NodeRewards(("a", "b", "c", "d"), row(0.5, -0.5, 9.0, 9.0), row(1, 0, 1, 0).bool(), weights, row(0.75, 0.25, 0.5, 0.125), gates, paid)  # fmt: skip
    answer = Answer(Episode("e", Example("e", "a", {}), "p", "r", draft="d", scores={"a": 0.75, "c": 0.5}), rewards, {}, True)  # fmt: skip
    assert answer.scores == {"a": 0.75, "b": 0.25, "c": 0.5}
    assert answer.paid == {"a": 0.5, "b": -0.25, "c": 0.0}
    assert answer.reward == 0.25
    assert (str(answer), answer.draft) == ("r", "d")
