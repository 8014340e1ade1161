"""Rows as public data sets have them -> examples: what a value becomes, what is missing, which errors name the row."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from rag_graph.data.examples import examples_from_rows, read_examples, references_of
from rag_graph.errors import DataError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import Task
from rag_graph.records import Example

FIELDS = {"input": "text", "reference": "answer"}
NAN = float("nan")


def read(
    rows: list[dict[str, Any]], fields: dict[str, str] = FIELDS, training: bool = False, **task: Any
) -> list[Example]:
    placed = ((f"d:{number}", row) for number, row in enumerate(rows, 1))
    return examples_from_rows("t", Task(fields=fields, **task), placed, training=training)


def labelled(values: list[Any], labels: Any) -> list[tuple[str, ...]]:
    rows = [{"text": f"text {n}", "answer": value} for n, value in enumerate(values)]
    return [example.references for example in read(rows, kind="classification", labels=labels)]


@pytest.mark.parametrize("missing", [None, NAN, "", "  ", [], [None, ""]])
def test_a_missing_reference_is_missing(missing: Any) -> None:
    found = read([{"text": "a", "answer": "x"}, {"text": "b", "answer": missing}, {"text": "c"}])
    assert [example.references for example in found] == [("x",), (), ()]
    assert labelled(["p", missing], ("p", "q")) == [("p",), ()]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_is_the_same_in_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    frame = pandas.DataFrame(
        {"text": ["who ?", "where ?"], "hint": ["a", None], "answer": ["anna", None], "from": ["p", None]}
    )
    path = tmp_path / f"d.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    graph = AuxiliaryGraph.build({"t": {"fields": {**FIELDS, "hint": "hint", "supporting": "from", "unit": "from"}}})
    assert read_examples(path, "t", graph) == [
        Example("t/row0", "t", {"input": "who ?", "hint": "a"}, ("anna",), ("p",), "p"),
        Example("t/row1", "t", {"input": "where ?", "hint": ""}, (), (), ""),
    ]


def test_nested_and_repeated_references() -> None:
    squad = {"id": "5", "text": "a", "answers": {"text": ["x", "y"], "answer_start": [1, 2]}}
    assert read([squad], {"input": "text", "reference": "answers.text"})[0].references == ("x", "y")
    with pytest.raises(
        DataError,
        match=r"d:1: column 'answers' is dict .* Name the value that is meant: answers\.text, answers\.answer_start\.",
    ):
        read([squad], {"input": "text", "reference": "answers"})
    assert read([{"text": "a", "answer": [3, "y", None]}])[0].references == ("3", "y")
    assert read([{"text": "a", "answer": datetime.date(2024, 1, 1)}])[0].references == ("2024-01-01",)


def test_supporting_passages_as_hotpotqa_names_them() -> None:
    row = {"text": "a", "answer": "x", "facts": {"title": ["A", "B", "A"], "sent_id": [0, 1, 2]}}
    fields = {**FIELDS, "supporting": "facts.title"}
    assert read([row], fields)[0].supporting == ("A", "B")
    for value, message in (
        (row["facts"], r"d:1: column 'facts' is a map, not ids\. Name the ids in it: facts\.title, facts\.sent_id\."),
        ([["A", 0], ["B", 1]], "d:1: column 'facts' is a list of lists, not of ids"),
        (["A", ""], "d:1: column 'facts' contains an empty id"),
        ([1.5], "column 'facts': an id is a text or a whole number"),
    ):
        with pytest.raises(DataError, match=message):
            read([{**row, "facts": value}], {**FIELDS, "supporting": "facts"})


def test_labels_as_data_sets_write_them() -> None:
    assert labelled([True, False], {"true": "yes", "false": "no"}) == [("yes",), ("no",)]
    assert labelled([True, False], {"True": "yes", "False": "no"}) == [("yes",), ("no",)]
    assert labelled([0.0, 1, "1"], {"0": "bad", "1": "good"}) == [("bad",), ("good",), ("good",)]
    assert labelled([" good "], ("good", "bad")) == [("good",)]
    assert labelled(["cafe\u0301"], ("caf\u00e9", "th\u00e9")) == [("caf\u00e9",)]
    assert labelled(["caf\u00e9"], ("cafe\u0301",)) == [("cafe\u0301",)], "as the graph file writes it"


@pytest.mark.parametrize(
    ("value", "labels", "message"),
    [
        (
            "Good",
            ("good", "bad"),
            r"d:1: label 'Good' is none of task 't'\. Did you mean 'good'\? Its labels: good, bad\.$",
        ),
        (-1, {"0": "bad", "1": "good"}, "Where -1 stands for a label that is not known, write null"),
        (2, ("good", "bad"), r"For numbers, write a map: labels: \{2: good, \.\.\.\}"),
        (1.5, {"1": "good"}, "label '1.5' is none of task 't'"),
    ],
)
def test_a_label_that_the_task_lacks(value: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        labelled([value], labels)


def test_a_row_shows_something() -> None:
    fields = {**FIELDS, "title": "title"}
    found = read([{"text": "a", "title": None, "answer": "x"}, {"text": None, "title": "b", "answer": "y"}], fields)
    assert [dict(example.inputs) for example in found] == [{"input": "a", "title": ""}, {"input": "", "title": "b"}]
    with pytest.raises(DataError, match="d:1: 'text' and 'title' are empty: there is nothing to ask. Remove the row."):
        read([{"text": " ", "title": None, "answer": "x"}], fields)
    with pytest.raises(DataError, match="d:1: 'text' is empty: there is nothing to ask"):
        read([{"text": "", "answer": "x"}])


def test_a_column_must_be_there() -> None:
    assert read([]) == []
    with pytest.raises(
        DataError, match=r"d:1: no column 'answer', which task 't' reads as 'reference'\. Did you mean 'answers'\?"
    ):
        read([{"text": "a", "answers": "x"}, {"text": "b"}])
    with pytest.raises(DataError, match="d:2: no column 'text', which task 't' reads as 'input'"):
        read([{"text": "a", "answer": "x"}, {"answer": "y"}])
    fields = {**FIELDS, "demonstration": "weak"}
    assert len(read([{"text": "a", "answer": "x"}], fields)) == 1
    with pytest.raises(DataError, match="d:1: no column 'weak', which task 't' reads as 'demonstration'"):
        read([{"text": "a", "answer": "x"}], fields, training=True)
    assert len(read([{"text": "a", "answer": "x"}, {"text": "b", "weak": "y"}], fields, training=True)) == 2


def test_a_field_that_no_task_reads_has_no_reference() -> None:
    task = Task(fields={"input": "text"})
    assert references_of({"text": "a"}, "answer", "t", task, "d:1") == ()


def test_ids_are_all_or_none(tmp_path: Path) -> None:
    graph = AuxiliaryGraph.build({"t": {"fields": FIELDS}})
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"_id": name, "text": name, "answer": "x"}) + "\n" for name in ("a", "b")))
    assert [example.id for example in read_examples(path, "t", graph)] == ["t/a", "t/b"]
    path.write_text('{"id": "row1", "text": "a", "answer": "x"}\n{"text": "b", "answer": "y"}\n')
    with pytest.raises(
        DataError, match=r"d\.jsonl:2: the row has no id, and the row at .*d\.jsonl:1 has the id 'row1'"
    ):
        read_examples(path, "t", graph)
    path.write_text("")
    with pytest.raises(DataError, match=r"d\.jsonl: the file has no rows"):
        read_examples(path, "t", graph)
