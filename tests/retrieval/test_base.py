"""What all retrievers share: the best scores, and checks of hits that come from outside."""

from __future__ import annotations

from typing import Any

import pytest

from rag_graph.errors import DataError
from rag_graph.retrieval.base import CheckedRetriever, Hit


@pytest.mark.parametrize(
    "answer",
    [[], [[(0, 1.0)]], [[Hit(-1, 1.0)]], [[Hit(9, 1.0)]], [[Hit(0, float("nan"))]], [[Hit(0, 1.0), Hit(0, 0.5)]]],
)
def test_a_retriever_that_breaks_the_protocol_is_named(answer: Any) -> None:
    class Broken:
        name = "broken"

        def search(self, queries: Any, k: int) -> Any:
            return answer

    with pytest.raises(DataError, match="retriever 'broken'"):
        CheckedRetriever(Broken(), 3).search(["x"], 1)
