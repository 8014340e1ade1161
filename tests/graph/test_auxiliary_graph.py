"""The graph as arrays in file order, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, load_graph


def test_a_good_file_becomes_arrays(good: str, write_graph: Callable[..., Path]) -> None:
    graph = load_graph(write_graph(good))
    assert graph.nodes == ("topic", "headline", "brief")
    assert graph.edge_index.tolist() == [[2], [1]]
    assert graph.relation_names[graph.relation[0]] == "prerequisite"
    assert graph.strength.tolist() == pytest.approx([0.8])
    assert graph.applies("brief", "headline")
    assert not graph.applies("brief", "topic")


def test_strengths_change_in_a_new_graph_only() -> None:
    graph = load_graph("parcels")
    changed = graph.with_strengths([0.25] * len(graph.spec.edges))
    assert set(changed.strength.tolist()) == {0.25}
    assert graph.strength[0] == pytest.approx(0.9)
    assert changed != graph
    with pytest.raises(ValueError, match="a strength is a number from 0 to 1"):
        graph.with_strengths([2.0] * len(graph.spec.edges))


def test_networkx_view() -> None:
    view = load_graph("parcels").networkx
    assert view.nodes["archive"]["kind"] == "context"
    assert view.edges["archive", "question", "grounds"]["strength"] == 0.9
    roles = {relation: said["role"] for _, _, relation, said in view.edges(keys=True, data=True)}
    assert roles == {
        "bounds": "fact",
        "indicates": "fact",
        "prerequisite": "rule",
        "shares_structure": "neither",
        "grounds": "neither",
    }


def test_the_role_of_an_edge_follows_from_its_relation(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    graph = make_graph([("c0", "t", "bounds"), ("c0", "t", "prerequisite"), ("t", "u", "shares_structure")])
    assert [graph.role(edge) for edge in graph.spec.edges] == ["fact", "rule", "neither"]


def test_saved_and_read_again(tmp_path: Path) -> None:
    graph = AuxiliaryGraph.build(
        {"correct": 1}, ["form"], [("form", "correct", "prerequisite"), ("form", "correct", "bounds", 0.9)]
    )
    assert graph.to_yaml() == (
        "format: 1\nname: graph\n\ntasks:\n  correct:\n    goal: 1.0\n\ncriteria:\n  form: {}\n\nedges:\n"
        "  - {from: form, to: correct, relation: prerequisite}\n  - {from: form, to: correct, relation: bounds, strength: 0.9}\n"
    )
    for name in ("g.yaml", "g.json", "g.graphml"):
        assert load_graph(graph.save(tmp_path / name)) == graph
    graph.with_strengths([0, 0]).save(str(tmp_path / "g.yaml"))
    assert load_graph(tmp_path / "g.yaml").strength.tolist() == [0, 0], "written over"
    with pytest.raises(
        GraphFileError, match=r"unknown format '.yml'. Did you mean '.yaml'\? Known: .yaml, .json, .graphml"
    ):
        graph.save(tmp_path / "g.yml")
    with pytest.raises(GraphFileError, match="no such folder"):
        graph.save(tmp_path / "no/g.yaml")
