"""Walks over an index: the contract, seeds, linked passages, and the edge that led to each."""

from __future__ import annotations

import pytest

from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Retriever
from rag_graph.retrieval.index import PassageIndex
from tests.contracts.retriever import RetrieverContract, WithEncoder, as_passages


def node(name: str, title: str, text: str, links: tuple[str, ...] = ()) -> ContextNode:
    return ContextNode(name, "", title, text, "", links)


def test_push_finds_its_seeds_whatever_its_bound() -> None:
    passages = [node("hub", "", "kettle"), *(node(f"n{i}", "", f"other {i}", ("hub",)) for i in range(200))]
    for epsilon in (1e-2, 1e-4):
        hits = PassageIndex(passages).retriever("walk", epsilon=epsilon).search(["kettle"], 3)[0]
        assert hits[0].position == 0


@pytest.mark.parametrize("damping", [0.5, 0.85])
def test_a_walk_does_not_say_that_a_seed_came_from_where_it_went(damping: float) -> None:
    passages = [
        node("b", "", "kettle kettle"),
        *(node(f"c{i}", "", f"kettle and more words {i}", ("b",)) for i in range(6)),
    ]
    hits = PassageIndex(passages).retriever("walk", damping=damping).search(["kettle"], 7)[0]
    assert hits[0].position == 0
    assert hits[0].via is None
    pair = [node("b", "", "kettle"), node("c", "", "other", ("b",))]
    found = PassageIndex(pair).retriever("walk", damping=damping).search(["kettle"], 2)[0]
    assert {hit.position: hit.via is not None for hit in found} == {0: False, 1: True}


def test_a_walk_reaches_linked_passages_and_says_by_which_edge() -> None:
    passages = [
        node("film", "Red River (film)", "A western. It was directed by Howard Hawks."),
        node("man", "Howard Hawks", "He was born in Goshen."),
        node("born", "Goshen", "A city of Indiana."),
        *(node(f"x{i}", f"Filler{i}", f"nothing of note {i}") for i in range(20)),
    ]
    index = PassageIndex(passages)
    assert {tuple(pair) for pair in index.links.ends.tolist()} == {(0, 1), (1, 2)}
    hits = index.retriever("walk").search(["who made the red river western ?"], 3)[0]
    assert [hit.position for hit in hits] == [0, 1, 2]
    assert hits[0].via is None
    assert index.describe(hits[1].via) == "by a title, linked with 'Red River (film)'"
    assert index.describe(hits[2].via) == "by a title, linked with 'Howard Hawks'"
    assert set(hits[0].scores) == {"bm25", "walk"}
    assert set(hits[2].scores) == {"walk"}
    pushed = index.retriever("walk", epsilon=1e-6).search(["who made the red river western ?"], 3)[0]
    assert [hit.position for hit in pushed] == [0, 1, 2]
    assert [hit.score for hit in pushed] == pytest.approx([hit.score for hit in hits], abs=1e-4)


def test_phrases_and_stated_links_join_passages() -> None:
    passages = [
        node("a", "", "kettles were made by Anna Holm here"),
        node("b", "", "the later life of Anna Holm"),
        node("c", "", "a mixer", ("a",)),
    ]
    index = PassageIndex(passages, links=("link", "phrase"))
    hits = index.retriever("walk").search(["kettles"], 3)[0]
    assert {hit.position: index.describe(hit.via) for hit in hits} == {
        0: "",
        1: "by a shared name, 'anna holm'",
        2: "by the file, linked with 'a'",
    }
    assert [hit.position for hit in PassageIndex(passages, links=()).retriever("walk").search(["kettles"], 3)[0]] == [0]


class TestWalk(RetrieverContract):
    def make(self, texts: list[str]) -> Retriever:
        return PassageIndex(as_passages(texts)).retriever("walk")


class TestPush(RetrieverContract):
    def make(self, texts: list[str]) -> Retriever:
        return PassageIndex(as_passages(texts)).retriever("walk", epsilon=1e-6)


class TestHybridWalk(WithEncoder):
    method = "hybrid_walk"
