"""Items of a rubric: every form that data sets have, and a sentence for each that is wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rag_graph.data.rubrics import check_columns, items_of, read_items, rubrics_of
from rag_graph.errors import DataError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Item

TWO = (Item("names the city", 3.0), Item("is rude", -1.0, "Tone"))
ROWS = [{"criterion": "names the city", "weight": 3}, {"criterion": "is rude", "weight": -1, "title": "Tone"}]


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        tuple(ROWS),
        np.array(ROWS, dtype=object),
        json.dumps(ROWS),
        {"criterion": ["names the city", "is rude"], "weight": [3, -1], "title": [None, "Tone"]},
        [{"criterion": "names the city", "points": 3, "tags": ["level:example"]}, {"description": "is rude", "weight": -1, "title": "Tone", "criterion": None}],
    ],
    ids=["list", "tuple", "array", "json", "datasets", "other names"],
)  # fmt: skip
def test_forms_of_a_rubric(value: Any) -> None:
    assert read_items(value, "rubric", "x") == TWO


def test_texts_weigh_one_and_nothing_is_no_rubric() -> None:
    assert read_items(["a", "b"], "rubric", "x") == (Item("a", 1.0), Item("b", 1.0))
    for nothing in (None, [], "", "[]", "null", float("nan"), {"criterion": [], "weight": []}):
        assert read_items(nothing, "rubric", "x") == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "f:1: column 'rubric' is an int, '3', not a list of items. Write"),
        ("names the city", "f:1: column 'rubric': 'names the city' is no JSON"),
        ({"criterion": "a", "weight": 1}, "f:1: column 'rubric' is one map, not a list of items. Write"),
        ({"criterion": ["a", "b"], "weight": [1]}, "lists of different lengths: 2 of 'criterion', 1 of 'weight'"),
        ([ROWS[0], 3], "f:1: column 'rubric', item 2 is an int, '3'. Write a text, or {"),
        ([{"critreion": "a", "weight": 1}], "item 1 has no text 'criterion'. It has 'critreion'. Did you mean 'criterion'?"),
        ([{"criterion": " ", "weight": 1}], "item 1 has no text 'criterion'. Write {"),
        ([{"criterion": "a", "wieght": 1}], "item 1 ('a') has no 'weight'. It has 'wieght'. Did you mean 'weight'?"),
        ([{"criterion": "a", "weight": "3"}], "item 1 ('a'): weight '3' is no finite number"),
        ([{"criterion": "a", "weight": True}], "item 1 ('a'): weight True is no finite number"),
        ([{"criterion": "a", "weight": float("inf")}], "item 1 ('a'): weight inf is no finite number"),
        ([{"criterion": "a", "weight": -1}, {"criterion": "b", "weight": 0}], "no item has a weight above 0"),
    ],
)  # fmt: skip
def test_what_is_no_rubric_is_said(value: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_items(value, "rubric", "f:1")
    assert message in str(error.value)
    assert str(error.value).startswith("f:1: column 'rubric'")


def test_the_rubrics_of_a_task() -> None:
    graph = AuxiliaryGraph.build(
        {"a": 1, "b": 1}, {"form": {}, "rubric": {"items": "goals"}, "style": {"items": "style", "applies_to": ["b"]}}
    )
    assert rubrics_of(graph, "a") == {"rubric": "goals"}
    assert rubrics_of(graph, "b") == {"rubric": "goals", "style": "style"}
    row = {"goals": ROWS, "style": [], "other": 1}
    assert items_of(row, rubrics_of(graph, "b"), "x") == {"rubric": TWO}
    check_columns(row, rubrics_of(graph, "b"), "x")
    with pytest.raises(
        DataError,
        match="x: no column 'style', which the rubric 'style' reads its items from. The columns there are: goals",
    ):
        check_columns(["goals"], rubrics_of(graph, "b"), "x")
