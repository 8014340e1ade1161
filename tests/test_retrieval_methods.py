"""Names of methods and of places for vectors."""

from __future__ import annotations

from typing import get_args

import pytest

from rag_graph.retrieval_methods import DENSE_METHODS, WALK_METHODS, RetrievalMethod, is_vector_store


@pytest.mark.parametrize(
    ("name", "known"),
    [("exact", True), ("faiss", True), ("v.db", True), ("http://host:1", True), ("fais", False), ("", False)],
)
def test_places_of_vectors(name: str, known: bool) -> None:
    assert is_vector_store(name) is known


def test_groups_are_methods() -> None:
    assert {*DENSE_METHODS, *WALK_METHODS} == {*get_args(RetrievalMethod)} - {"none", "bm25"}
