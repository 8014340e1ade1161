"""Pictures of a graph: places of nodes by hand, the tree and the table, files that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.picture import draw_graph, positions, relation_table, task_tree

Make = Callable[..., AuxiliaryGraph]


def test_places_of_nodes(make_graph: Make) -> None:
    graph = make_graph([("c0", "u", "supports"), ("c1", "t", "supports")], criteria=2)
    assert positions(graph) == {"c1": (0, -0.5), "c0": (0, -1.5), "t": (1.6, -0.5), "u": (1.6, -1.5)}


def test_the_tree_and_the_table_say_every_edge(make_graph: Make) -> None:
    graph = make_graph([("c0", "t", "supports", 0.25)], tuned=False)
    first, second = task_tree(graph).children
    assert str(first.children[0].label) == "c0 [dim]supports[/] 0.25 [dim]frozen[/]"
    assert not second.children
    cells = [list(column.cells) for column in relation_table(graph).columns]
    assert cells == [["c0"], ["supports"], ["t"], ["0.25"], ["no"], ["credit"]]


def test_files_that_are_refused(make_graph: Make, tmp_path: Path) -> None:
    with pytest.raises(GraphFileError, match=r"unknown kind of picture '\.gif'\. Known: \.svg, \.png, \.pdf"):
        draw_graph(make_graph([]), tmp_path / "g.gif")
    with pytest.raises(GraphFileError, match="no such folder"):
        draw_graph(make_graph([]), tmp_path / "gone/g.svg")
