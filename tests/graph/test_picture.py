"""Pictures of a graph: places of nodes by hand, the tree and the table, files that are refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.picture import ROLE_LINE, SEMANTICS_COLOR, draw_graph, positions, relation_table, task_tree
from rag_graph.graph.spec import ROLES

Make = Callable[..., AuxiliaryGraph]


def test_places_of_nodes(make_graph: Make) -> None:
    graph = make_graph([("c0", "u", "supports"), ("c1", "t", "supports")], criteria=2)
    assert positions(graph) == {"c1": (0, -0.5), "c0": (0, -1.5), "t": (1.6, -0.5), "u": (1.6, -1.5)}


def test_the_tree_and_the_table_say_every_edge(make_graph: Make) -> None:
    graph = make_graph([("c0", "t", "supports", 0.25)], tuned=False)
    first, second = task_tree(graph).children
    assert str(first.children[0].label) == "c0 supports (rule) 0.25 frozen"
    assert not second.children
    cells = [list(map(str, column.cells)) for column in relation_table(graph).columns]
    assert cells == [["c0"], ["supports"], ["rule"], ["t"], ["0.25"], ["no"], ["credit"]]


def test_lines_show_the_role_and_the_legend_names_it(
    make_graph: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    edges = [
        ("c0", "t", "prerequisite"),
        ("c1", "t", "indicates_low"),
        ("c0", "u", "bounds"),
        ("t", "u", "shares_structure"),
    ]
    draw_graph(make_graph(edges, criteria=2), tmp_path / "g.svg")
    (axes,) = drawn[0].axes
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    solid, dashed, dotted = ROLE_LINE["rule"], ROLE_LINE["fact"], ROLE_LINE["neither"]
    assert len({solid, dashed, dotted}) == 3
    assert [arrow.get_linestyle() for arrow in arrows] == [solid, dashed, dashed, dotted]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "task", "criterion", "bounds (fact)", "indicates_low (fact)", "prerequisite (rule)", "shares_structure (neither)",
    ]  # fmt: skip


def test_every_meaning_has_a_colour() -> None:
    assert set(SEMANTICS_COLOR) == set(ROLES)
    assert set(ROLE_LINE) == set(ROLES.values())


def test_files_that_are_refused(make_graph: Make, tmp_path: Path) -> None:
    with pytest.raises(GraphFileError, match=r"unknown kind of picture '\.gif'\. Known: \.svg, \.png, \.pdf"):
        draw_graph(make_graph([]), tmp_path / "g.gif")
    with pytest.raises(GraphFileError, match="no such folder"):
        draw_graph(make_graph([]), tmp_path / "gone/g.svg")


def test_a_task_without_kind_and_metrics() -> None:
    from rich.console import Console

    console = Console(width=100, file=io.StringIO())
    console.print(task_tree(AuxiliaryGraph.build({"correct": 1}, ["form"], [("form", "correct", "bounds")])))
    assert console.file.getvalue().splitlines()[1].rstrip() == "└── correct    goal 1, external"  # type: ignore[attr-defined]


def test_a_picture_that_would_show_nothing_is_refused(make_graph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = make_graph([])
    monkeypatch.setattr("rag_graph.graph.picture.MOST_NODES", len(graph.nodes) - 1)
    with pytest.raises(GraphFileError, match="`rag-graph graph show` lists them"):
        draw_graph(graph)
