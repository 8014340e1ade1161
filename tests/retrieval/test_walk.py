"""The walk against networkx, gradients against differences, local push within its bound, links by hand."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.links import Titles, names_in
from rag_graph.retrieval.pagerank import PersonalisedPageRank


def made_graph(seed: int) -> tuple[int, np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3, 25))
    ends = np.array([(a, b) for a, b in rng.integers(size, size=(size * 2, 2)) if a != b], np.int64).reshape(-1, 2)
    return size, ends, rng.uniform(0.1, 2, len(ends)), rng


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.5, 0.85]))
def test_the_walk_equals_networkx(seed: int, damping: float) -> None:
    size, ends, weights, rng = made_graph(seed)
    graph = networkx.Graph()
    graph.add_nodes_from(range(size))
    for (a, b), weight in zip(ends.tolist(), weights, strict=True):
        graph.add_edge(a, b, weight=weight + (graph[a][b]["weight"] if graph.has_edge(a, b) else 0))
    reset = rng.random((size, 3)) + 0.01
    walker = PersonalisedPageRank(size, ends, torch.from_numpy(weights), damping)
    found = walker.walk(torch.from_numpy(reset), tolerance=1e-12).numpy()
    pushed = walker.push(dict(enumerate(reset[:, 0])), epsilon=1e-12)
    for column in range(3):
        expected = networkx.pagerank(
            graph, alpha=damping, personalization=dict(enumerate(reset[:, column])), tol=1e-12, max_iter=500
        )
        assert found[:, column] == pytest.approx([expected[node] for node in range(size)], abs=1e-6)
        if column == 0:
            assert pushed[1] == pytest.approx([expected[int(node)] for node in pushed[0]], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_push_never_overestimates_and_misses_at_most_what_it_left(seed: int) -> None:
    size, ends, weights, _ = made_graph(seed)
    walker = PersonalisedPageRank(size, ends, torch.from_numpy(weights))
    exact = walker.walk(torch.eye(size)[:, :1], tolerance=1e-12)[:, 0].numpy()
    for epsilon in (1e-1, 1e-3):
        nodes, visits = walker.push({0: 1.0}, epsilon)
        missing = exact[nodes] - visits
        assert missing.min() > -1e-7
        edges = max(2 * len(ends), size)
        assert exact.sum() - visits.sum() <= epsilon * edges + 1e-6


def test_the_walk_has_gradients_in_the_edge_weights() -> None:
    size, ends, weights, _ = made_graph(3)
    moving = torch.tensor(weights, requires_grad=True)
    reset = torch.rand(size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def visits(values: torch.Tensor) -> torch.Tensor:
        return PersonalisedPageRank(size, ends, values).walk(reset)

    assert visits(moving).detach().numpy() == pytest.approx(visits(torch.tensor(weights)).numpy(), abs=1e-6)
    assert torch.autograd.gradcheck(visits, (moving,), atol=1e-6)


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


@pytest.mark.parametrize("damping", [0.85, 0.95])
def test_power_iteration_goes_on_until_nothing_is_on_its_way(damping: float) -> None:
    size, ends, weights, _ = made_graph(5)
    walker = PersonalisedPageRank(size, ends, torch.from_numpy(weights), damping)
    reset = torch.zeros(size, 1).index_fill(0, torch.tensor([0]), 1.0)
    assert (walker.walk(reset) - walker.walk(reset, tolerance=1e-14)).abs().sum() < 1e-5


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


def test_an_index_with_fewer_kinds_of_links_equals_one_made_with_them() -> None:
    passages = [
        ContextNode("a", "", "Ada Lovelace", "wrote notes on kettles", "", ("c",)),
        ContextNode("b", "", "", "Ada Lovelace met Charles Babbage"),
        ContextNode("c", "", "", "Charles Babbage built mixers"),
    ]
    index = PassageIndex(passages, links=("link", "title", "phrase"))
    for kinds in (("link",), ("title",), ("link", "phrase"), ()):
        fewer, made = index.with_links(kinds), PassageIndex(passages, links=kinds)
        assert fewer.fingerprint() == made.fingerprint()
        assert fewer.links.ends.tolist() == made.links.ends.tolist()
        assert fewer.retriever("walk").search(["kettles"], 3) == made.retriever("walk").search(["kettles"], 3)
    with pytest.raises(DataError, match="no links of the kind 'phrase'; it has: link"):
        index.with_links(("link",)).with_links(("phrase",))
