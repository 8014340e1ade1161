"""Names of methods and of places for vectors."""

from __future__ import annotations

from typing import get_args

import pytest

from rag_graph.retrieval_methods import DENSE_METHODS, WALK_METHODS, RetrievalMethod, is_vector_store, stemmed_language


@pytest.mark.parametrize(
    ("name", "known"),
    [("exact", True), ("faiss", True), ("v.db", True), ("http://host:1", True), ("fais", False), ("", False)],
)
def test_places_of_vectors(name: str, known: bool) -> None:
    assert is_vector_store(name) is known


@pytest.mark.parametrize(
    ("name", "means"),
    [("auto", "auto"), ("none", "none"), ("de", "german"), ("German", "german"), (" EN ", "english"), ("no", "norwegian")],
)  # fmt: skip
def test_languages(name: str, means: str) -> None:
    assert stemmed_language(name) == means


@pytest.mark.parametrize("name", ["", "zh", "klingon", "en_US"])
def test_a_language_without_a_stemmer(name: str) -> None:
    with pytest.raises(ValueError, match=f"language '{name}': no stemmer for it.*There are: arabic, .*yiddish; auto"):
        stemmed_language(name)


def test_groups_are_methods() -> None:
    assert {*DENSE_METHODS, *WALK_METHODS} == {*get_args(RetrievalMethod)} - {"none", "bm25"}
