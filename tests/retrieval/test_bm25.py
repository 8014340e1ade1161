"""BM25 against its formula, and against bm25s as it is."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import bm25s
import pytest
import Stemmer

from rag_graph.data.passages import read_passages, read_queries
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Retriever
from rag_graph.retrieval.bm25 import Bm25Retriever
from rag_graph.retrieval.index import PassageIndex
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
    for hit in Bm25Retriever(TEXTS, "none").search([query], 5)[0]:
        assert hit.score == pytest.approx(score(query, documents[hit.position]), abs=1e-5)


def equals_plain_bm25s(passages: list[ContextNode], queries: list[str], k: int) -> None:
    """The same passages in the same order with the same scores, as bm25s finds them in titles and texts with Snowball's English stemmer."""

    def tokens(texts: list[str]) -> list[list[str]]:
        found: list[list[str]] = bm25s.tokenize(
            texts, stopwords=None, token_pattern=r"(?u)\b\w+\b", stemmer=Stemmer.Stemmer("english"), return_ids=False, show_progress=False
        )  # fmt: skip
        return found

    plain = bm25s.BM25()
    plain.index(tokens([f"{node.title} {node.text}" for node in passages]), show_progress=False)
    index = PassageIndex(passages)
    assert index.parts.stems.language == "english", "found from the passages"
    for query, hits in zip(queries, index.retriever("bm25").search(queries, k), strict=True):
        scores = plain.get_scores(tokens([query])[0])
        order = sorted(range(len(passages)), key=lambda place: (-scores[place], place))[:k]
        assert [hit.score for hit in hits] == pytest.approx([scores[p] for p in order if scores[p] > 0], abs=1e-5)
        for hit in hits:
            assert hit.score == pytest.approx(scores[hit.position], abs=1e-5)


def test_english_results_equal_plain_bm25s_with_titles_and_stems() -> None:
    rng = random.Random(0)
    nouns = [
        "river",
        "rivers",
        "city",
        "cities",
        "director",
        "directors",
        "film",
        "films",
        "born",
        "The",
        "of",
        "Nelson's",
    ]
    verbs = ["directed", "directing", "directs", "flows", "flowing", "flowed", "was", "is", "ran", "running", "drains"]
    passages = [
        ContextNode(str(place), "", " ".join(rng.choices(nouns, k=rng.randint(0, 3))), f"The {' '.join(rng.choices(nouns + verbs, k=20))} in 1999.")
        for place in range(80)
    ]  # fmt: skip
    equals_plain_bm25s(passages, [" ".join(rng.choices(nouns + verbs, k=5)) for _ in range(20)], 10)


@pytest.mark.slow
def test_on_real_passages_too(real_data: Path) -> None:
    queries = read_queries(real_data / "musique" / "dev.jsonl")
    passages = [node for node in read_passages(real_data / "musique" / "passages.jsonl") if (node.title + node.text).isascii()]  # fmt: skip
    equals_plain_bm25s(passages, [query.question for query in queries if query.question.isascii()], 10)


def test_words_of_one_stem_meet_and_titles_count() -> None:
    passages = [
        ContextNode("a", "", "Rivers of Canada", "They drain the lakes of the north."),
        ContextNode("b", "", "", "A river that drains a lake."),
        ContextNode("c", "", "Canada", "Canada is a country in the north of America."),
        ContextNode("d", "", "Norway", "Its neighbour is Canada's friend, a country of the north."),
    ]
    found = PassageIndex(passages, language="en").retriever("bm25")
    assert [hit.position for hit in found.search(["draining"], 4)[0]] == [1, 0]
    assert [hit.position for hit in found.search(["Canada"], 4)[0]] == [2, 0, 3], (
        "in title and text, in the title, in the text"
    )
    plain = PassageIndex(passages, language="none").retriever("bm25")
    assert plain.search(["draining"], 4)[0] == []
