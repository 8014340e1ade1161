"""What the columns and the cells of a table hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.offline.rows import Rows


def read(graph: AuxiliaryGraph, *rows: Mapping[str, Any], **how: Any) -> Rows:
    found = Rows(graph, how, "t.jsonl")  # type: ignore[arg-type]
    for number, row in enumerate(rows, 1):
        found.add(f"t.jsonl:{number}", row)
    return found


def scores(graph: AuxiliaryGraph, found: Rows, row: int = 0) -> dict[str, float]:
    values = zip(graph.nodes, found.answers[row], strict=True)
    return {name: value for name, value in values if not math.isnan(value)}


@pytest.mark.parametrize(
    "row",
    [
        {"right": 0.5, "goal": 1},
        {"scores.right": "0.5", "goal": "true", "form": ""},
        {"scores": {"right": 0.5, "form": None}, "goal": True},
        {"scores": '{"right": 0.5, "goal": 1.0}', "noise": "NaN"},
        {"scores": {"right": 0.5, "goal": 1.0}, "noise": float("nan"), "form": "null"},
    ],
)
def test_every_form_of_a_row_says_the_same(graph: AuxiliaryGraph, row: dict[str, Any]) -> None:
    found = read(graph, row)
    assert scores(graph, found) == {"right": 0.5, "goal": 1.0}
    assert not found.problems


def test_a_pair_is_two_answers(graph: AuxiliaryGraph) -> None:
    flat = read(graph, {"chosen.right": 0.9, "rejected.right": 0.1, "rejected.form": "", "goal": None})
    nested = read(graph, {"chosen": {"right": 0.9}, "rejected": {"scores": {"right": 0.1}, "response": "x"}})
    for found in (flat, nested):
        assert found.pairs == [(0, 1)]
        assert (scores(graph, found, 0), scores(graph, found, 1)) == ({"right": 0.9}, {"right": 0.1})
        assert not found.problems


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"right": "good"}, "t.jsonl:1: column 'right' holds 'good', which is no number"),
        ({"right": 0.1, "scores.right": 0.2}, "node 'right' has two columns, the second is 'scores.right'"),
        ({"scores": "high"}, "column 'scores' holds 'high'; an object NODE: number is expected"),
        ({"chosen.right": 0.1}, "scores of the chosen answer, and none of the rejected one"),
        ({"chosen.right": 0.1, "rejected.right": 0.2, "goal": 1.0}, "a row is one answer or a pair"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_with_its_place(
    graph: AuxiliaryGraph, row: dict[str, Any], message: str
) -> None:
    (problem,) = read(graph, row).problems
    assert problem.startswith("t.jsonl:1: ")
    assert message in problem


def test_other_columns_are_kept_by_name(graph: AuxiliaryGraph) -> None:
    found = read(
        graph,
        {"id": 1, "system": "a", "prompt": "p", "right": 1, "scores": {"llm": 0.3}, "group": 2, "form": 0.2},
        ignore=["form"],
    )
    assert list(found.others) == ["system", "scores.llm"]
    assert scores(graph, found) == {"right": 1.0}


@pytest.mark.parametrize("column", ["rubric", "items"])
def test_a_rubric_may_be_a_list_of_one_score_per_item(column: str) -> None:
    """Weights 3, 1 and -2; HealthBench's formula over what was scored, by hand."""
    graph = AuxiliaryGraph.build({"goal": 1}, {"rubric": {"items": column}}, [("rubric", "goal", "indicates")])
    items = [{"criterion": "a", "weight": 3}, {"criterion": "b", "weight": 1}, {"criterion": "c", "weight": -2}]
    for given, expected in (
        ([1, 0, 0], 3 / 4),
        ([1, None, 0.5], (3 - 1) / 3),
        ("[0, 1, 0]", 1 / 4),
        ([0, 0, 1], 0.0),
        (0.6, 0.6),
    ):
        found = read(graph, {column: items, "scores.rubric": given, "goal": 0.5})
        assert found.problems == []
        assert found.others == {}
        assert scores(graph, found) == {"rubric": pytest.approx(expected), "goal": 0.5}
    assert scores(graph, read(graph, {column: items, "scores.rubric": [None] * 3})) == {}
    assert "2 scores" in read(graph, {column: items, "scores.rubric": [1, 0]}).problems[0]
