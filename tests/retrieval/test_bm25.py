"""BM25 against its formula, and what it keeps on disk."""

from __future__ import annotations

import math
import re

import pytest

from rag_graph.retrieval.base import Retriever
from rag_graph.retrieval.bm25 import Bm25Retriever
from tests.contracts.retriever import TEXTS, RetrieverContract


class TestBm25(RetrieverContract):
    def make(self, texts: list[str]) -> Retriever:
        return Bm25Retriever(texts)


def test_bm25_equals_the_formula() -> None:
    """Lucene's variant, bm25s's default: idf = ln(1 + (N - n + .5) / (n + .5)), k1 = 1.5, b = .75."""
    documents = [re.findall(r"\w+", text.lower()) for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)

    def score(query: str, document: list[str]) -> float:
        total = 0.0
        for word in set(query.lower().split()):
            n = sum(word in other for other in documents)
            if n:
                idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
                count = document.count(word)
                total += idf * count / (count + 1.5 * (0.25 + 0.75 * len(document) / mean))
        return total

    query = "red kettle from lima"
    for hit in Bm25Retriever(TEXTS).search([query], 5)[0]:
        assert hit.score == pytest.approx(score(query, documents[hit.position]), abs=1e-5)
