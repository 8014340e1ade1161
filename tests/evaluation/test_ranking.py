"""Rankings against the passages that answer a question, by hand."""

from __future__ import annotations

import pytest

from rag_graph.errors import DataError
from rag_graph.evaluation.ranking import all_gold_at, ranking_scores, recall_at


@pytest.mark.parametrize(
    ("k", "recall", "all_gold"), [(1, 0.0, 0.0), (2, 0.5, 0.0), (3, 0.5, 0.0), (4, 1.0, 1.0), (99, 1.0, 1.0)]
)
def test_values_by_hand(k: int, recall: float, all_gold: float) -> None:
    ranked = ["x", "a", "y", "b"]
    assert recall_at(ranked, ["a", "b", "a"], k) == recall, "a passage that is named twice counts once"
    assert all_gold_at(ranked, ["a", "b"], k) == all_gold


def test_queries_without_known_passages_are_left_out() -> None:
    found = ranking_scores([["a"], ["b"], []], [["a", "b"], [], ["c"]], [1, 2])
    assert found == {
        "recall@1": [0.5, 0.0],
        "recall@2": [0.5, 0.0],
        "all_gold@1": [0.0, 0.0],
        "all_gold@2": [0.0, 0.0],
    }
    with pytest.raises(DataError, match="no query has 'supporting_ids'"):
        ranking_scores([["a"]], [[]], [1])
