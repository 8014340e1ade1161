"""Columns of a row, also inside nested values; ids of rows."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from rag_graph.data.columns import MISSING, as_id, id_of, no_column, no_id, reach, row_ids, text_of
from rag_graph.errors import DataError


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ({"answer": "x"}, "answer", "x"),
        ({"answers": {"text": ["x", "y"], "start": [1, 2]}}, "answers.text", ["x", "y"]),
        ({"answers": [{"text": "x"}, {"text": "y"}, {}]}, "answers.text", ["x", "y"]),
        ({"a": {"b": {"c": 1}}}, "a.b.c", 1),
        ({"a.b": {"c": 1}}, "a.b.c", 1),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"answers": {"text": []}}, "answers.text", []),
        ({"answers": []}, "answers.text", []),
        ({"answers": None}, "answers.text", None),
        ({"answers": {"start": 1}}, "answers.text", MISSING),
        ({"answers": [{"start": 1}]}, "answers.text", MISSING),
        ({"answers": "x"}, "answers.text", MISSING),
        ({}, "answers", MISSING),
    ],
)
def test_a_dot_leads_into_nested_values(row: dict[str, Any], column: str, value: Any) -> None:
    found = reach(row, column)
    assert found is MISSING if value is MISSING else found == value


def test_what_is_text() -> None:
    day = datetime.date(2024, 1, 31)
    values: list[Any] = ["", "a", 3, 1.5, True, day, Decimal("1.10")]
    assert [text_of(one, "c", "f:1") for one in values] == ["", "a", "3", "1.5", "True", "2024-01-31", "1.10"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"f:1: column 'c' is empty \(null\), not text"),
        (float("nan"), r"f:1: column 'c' is empty \(null\), not text"),
        (float("inf"), r"f:1: column 'c' is float 'inf', not text"),
        ({"en": "a", "de": "b"}, r"f:1: column 'c' is dict .* Name the value that is meant: c\.en, c\.de\.$"),
        (["a"], r"f:1: column 'c' is list .* Make a column of texts of it"),
        (b"a", r"f:1: column 'c' is bytes"),
    ],
)
def test_what_is_no_text(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        text_of(value, "c", "f:1")


def test_a_missing_column_is_named_with_its_neighbour() -> None:
    error = no_column("f:1", "answers.txt", {"id": 1, "answers": {"text": []}}, "which task 't' reads as 'reference'")
    assert str(error) == (
        "f:1: no column 'answers.txt', which task 't' reads as 'reference'. Did you mean 'answers.text'? The row has: id, answers."
    )
    assert "Did you mean 'answers.text'?" in str(no_column("f:1", "answer.text", {"answers": [{"text": 1}]}, "x"))


def test_ids() -> None:
    assert [id_of(row, "f:1") for row in ({"id": 1}, {"_id": "a"}, {"docid": "b"}, {"id": None, "_id": "c"}, {"id": ""}, {})] == [
        "1", "a", "b", "c", None, None,
    ]  # fmt: skip
    assert as_id(7.0, "f:1") == "7"
    for value in (1.5, True, [1], ""):
        with pytest.raises(DataError, match="f:1: an id is a text or a whole number"):
            as_id(value, "f:1")
    assert "Rename the column 'PassageID' to 'id', if it is the id" in str(no_id("f:1", {"PassageID": 1}))
    assert "Rename" not in str(no_id("f:1", {"_id": None, "text": ""}))


def test_all_rows_have_ids_or_none() -> None:
    assert row_ids([("f:1", {"id": 3}), ("f:2", {"_id": "x"})]) == ["3", "x"]
    assert row_ids([("f:1", {"id": None}), ("f:2", {})]) is None
    with pytest.raises(DataError, match="f:3: the id '3' appears twice in this data set, first at f:1"):
        row_ids([("f:1", {"id": 3}), ("f:2", {"id": 4}), ("f:3", {"id": "3"})])
    for rows in ([("f:1", {}), ("f:2", {"id": 9})], [("f:2", {"id": 9}), ("f:1", {})]):
        with pytest.raises(
            DataError,
            match=r"f:1: the row has no id, and the row at f:2 has the id '9'\. Give every row an id, or none\.",
        ):
            row_ids(rows)
