"""What every retriever must do. Subclass `RetrieverContract` and say how one is made; pytest runs the rest."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Retriever
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.index import PassageIndex

TEXTS = [
    "the red kettle is from oslo",
    "a blue mixer came from lima",
    "green rakes and hoses",
    "the red kettle is from oslo",
    "ein roter Kessel aus Köln",
]


class RetrieverContract:
    NEAREST: ClassVar[dict[str, int]] = {"where is the blue mixer from": 1, "green hoses": 2}
    """Queries and the position of the passage that must come first."""

    def make(self, texts: list[str]) -> Retriever:
        """A retriever over these texts."""
        raise NotImplementedError

    def test_finds_the_nearest_first(self) -> None:
        found = self.make(TEXTS).search(list(self.NEAREST), 3)
        assert [hits[0].position for hits in found] == list(self.NEAREST.values())

    def test_best_first_without_repeats_ties_by_position(self) -> None:
        (hits,) = self.make(TEXTS).search(["the red kettle is from oslo"], 5)
        assert [hit.position for hit in hits[:2]] == [0, 3]
        assert hits[0].score == pytest.approx(hits[1].score, abs=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len({hit.position for hit in hits}) == len(hits)

    def test_k_bounds_and_nests(self) -> None:
        retriever = self.make(TEXTS)
        longest = retriever.search(["red kettle from oslo"], 50)[0]
        assert 1 <= len(longest) <= len(TEXTS)
        for k in range(1, len(longest) + 1):
            assert retriever.search(["red kettle from oslo"], k)[0] == longest[:k]

    def test_a_query_alone_equals_the_query_in_a_batch(self) -> None:
        retriever = self.make(TEXTS)
        queries = ["red kettle", "", "zzz qqq", "mixer from lima"]
        together = retriever.search(queries, 3)
        assert len(together) == len(queries)
        for query, hits in zip(queries, together, strict=True):
            alone = retriever.search([query], 3)[0]
            assert [hit.position for hit in alone] == [hit.position for hit in hits]
            assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-5)

    def test_an_empty_query_finds_nothing(self) -> None:
        assert self.make(TEXTS).search(["", "  \n"], 3) == [[], []]

    def test_no_queries(self) -> None:
        assert self.make(TEXTS).search([], 3) == []

    def test_other_scripts(self) -> None:
        assert self.make(TEXTS).search(["roter Kessel Köln"], 1)[0][0].position == 4

    def test_an_empty_pool_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"pool of passages is empty.*retrieval\.method=none"):
            self.make([])


def as_passages(texts: list[str]) -> list[ContextNode]:
    return [ContextNode(str(place), "", "", text) for place, text in enumerate(texts)]


class WithEncoder(RetrieverContract):
    """The contract over an index with a small encoder. `method` is what is tested; `where` says how embeddings are searched."""

    method, where = "dense", "exact"
    NEAREST: ClassVar[dict[str, int]] = {"a blue mixer": 1, "green rakes": 2}  # untrained, it knows only shared words

    @pytest.fixture(autouse=True)
    def _given(self, scratch_encoder: SentenceEncoder, tmp_path: Path) -> None:
        self.encoder, self.folder = scratch_encoder, tmp_path

    def make(self, texts: list[str]) -> Retriever:
        where = f"{self.folder}/milvus.db" if self.where == "milvus" else self.where
        return PassageIndex(as_passages(texts), self.encoder, vectors=where).retriever(self.method)
