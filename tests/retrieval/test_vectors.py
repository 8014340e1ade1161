"""Search in embeddings: exact by hand, and every other place against the contract of retrievers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

from rag_graph.retrieval.base import Retriever
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.milvus import MilvusVectors
from tests.contracts.retriever import WithEncoder, as_passages


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed (pip install faiss-cpu)")
class TestFaiss(WithEncoder):
    where = "faiss"


@pytest.mark.skipif(
    importlib.util.find_spec("pymilvus") is None, reason="pymilvus is not installed (pip install pymilvus milvus-lite)"
)
class TestMilvus(WithEncoder):
    where = "milvus"


@pytest.mark.skipif(not os.environ.get("MILVUS_URI"), reason="MILVUS_URI is not set: no Milvus server to test against")
class TestMilvusServer(WithEncoder):
    """The same code path, by the address of a server or cluster."""

    def make(self, texts: list[str]) -> Retriever:
        index = PassageIndex(as_passages(texts), self.encoder, vectors=os.environ["MILVUS_URI"])
        assert isinstance(index.store, MilvusVectors)
        self.stores.append(index.store)
        return index.retriever("dense")

    @pytest.fixture(autouse=True)
    def _cleared(self) -> Iterator[None]:
        self.stores: list[MilvusVectors] = []
        yield
        for store in self.stores:
            store.drop()
            store.close()
