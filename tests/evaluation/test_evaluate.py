"""Evaluation: values recomputed by hand, intervals that cover, errors that say what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag_graph.errors import DataError
from rag_graph.evaluation.evaluate import evaluate
from rag_graph.evaluation.scorer import NodeScorer
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
