"""What the columns and the cells of a table hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from rag_graph.graph import AuxiliaryGraph, load_graph
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


ITEMS = [{"criterion": "names oslo", "weight": 3}, {"criterion": "is rude", "weight": -1}]


@pytest.fixture(scope="module")
def rubric_graph() -> AuxiliaryGraph:
    return load_graph(
        "{format: 1, name: r, tasks: {goal: {goal: 1}}, criteria: {rubric: {items: rubric}, kind: {items: kinds}}}"
    )


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"rubric": ITEMS, "scores.rubric": [1, 1]}, 2 / 3),
        ({"rubric": str(ITEMS).replace("'", '"'), "scores.rubric": "[1.0, NaN]"}, 1.0),
        ({"rubric": ITEMS, "scores": {"rubric": [0.5, None]}}, 0.5),
        ({"rubric": ITEMS, "scores.rubric": 0.25}, 0.25),
        ({"rubric": 0.25}, 0.25),  # no items, only the score
        ({"rubric": ITEMS}, None),
        ({"rubric": ITEMS, "scores.rubric": [None, 1]}, None),
    ],
)
def test_a_rubric_has_a_number_or_one_for_each_item(
    rubric_graph: AuxiliaryGraph, row: dict[str, Any], score: float | None
) -> None:
    found = read(rubric_graph, {"goal": 1, **row})
    assert not found.problems
    assert not found.others
    assert scores(rubric_graph, found) == pytest.approx({"goal": 1.0} | ({} if score is None else {"rubric": score}))


def test_a_pair_with_rubrics(rubric_graph: AuxiliaryGraph) -> None:
    found = read(rubric_graph, {"kinds": ["a", "b"], "chosen.kind": [1, 1], "rejected.kind": [0, 1]})
    assert [scores(rubric_graph, found, row) for row in (0, 1)] == [{"kind": 1.0}, {"kind": 0.5}]
    assert not found.problems


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"kind": [1, 0]},
            "t.jsonl:1: column 'kind' holds a list, the score of each item, and no column 'kinds' holds the items",
        ),
        ({"kinds": ["a", "b"], "kind": [1]}, "node 'kind': 1 scores for the 2 items of t.jsonl:1"),
        (
            {"kinds": ["a", "b"], "kind": "[1, high]"},
            "t.jsonl:1: column 'kind' holds '[1, high]', which is no list of numbers",
        ),
        ({"kinds": [{"criterion": "a"}], "kind": 1.0}, "t.jsonl:1: column 'kinds', item 1 ('a') has no 'weight'"),
    ],
)
def test_what_is_wrong_with_a_rubric(rubric_graph: AuxiliaryGraph, row: dict[str, Any], message: str) -> None:
    (problem,) = read(rubric_graph, row).problems
    assert message in problem
