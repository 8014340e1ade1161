"""Edges between passages: titles, names and stated links, by hand."""

from __future__ import annotations

from rag_graph.records import ContextNode
from rag_graph.retrieval.links import Titles, names_in


def node(name: str, title: str, text: str, links: tuple[str, ...] = ()) -> ContextNode:
    return ContextNode(name, "", title, text, "", links)


def test_titles_are_found_as_whole_words_and_without_their_parenthesis() -> None:
    titles = Titles(enumerate(["Heat (1995 film)", "The Founding of a Party", "Oslo", "Ann", "It"]))
    assert titles.named_in("She saw Heat in Oslo.") == {0, 2}
    assert titles.named_in("the heat of the day, Osloer") == set(), "small letters and parts of words are no title"
    assert titles.named_in("In The Founding of a Party, Ann left. It rained.") == {1}


def test_names() -> None:
    text = "the University of Oslo was led by Élise Ny-Dal and an engineer from USA"
    assert names_in(node("a", "", text)) == {"university of oslo", "élise ny-dal"}
    assert names_in(node("a", "", "он жил в городе Москва и был рад")) == {"москва"}
    assert names_in(node("a", "", "va à l'école avec son élève Éloi Marchand")) == {"éloi marchand"}
