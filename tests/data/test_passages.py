"""Passages and questions from jsonl files, and errors that name the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag_graph.data.passages import Query, check_links, read_passages, read_queries
from rag_graph.errors import DataError
from rag_graph.records import ContextNode


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the file has no passages"),
        ('{"id": 1, "title": "t"}', r"p\.jsonl:1: no 'text'"),
        ('{"id": 1, "text": 3}', r"p\.jsonl:1: no 'text'"),
        ('{"id": 1, "text": "", "title": " "}', r"p\.jsonl:1: no 'text'"),
        ('{"id": 1, "text": "a", "title": 3}', "'title' is int, not text"),
        ('{"id": 1, "text": "a", "links": "b"}', "'links' is a list"),
        (
            '{"text": "a"}',
            r"p\.jsonl:1: no id\. Every row needs one, .* in a column 'id', '_id' or 'docid'\. The row has: text\.",
        ),
        ('{"id": 1, "text": "a"}\n{"text": "a"}', r"p\.jsonl:2: no id\."),
        ('{"passage_id": 1, "text": "a"}', r"Rename the column 'passage_id' to 'id', if it is the id\."),
        ('{"id": [1], "text": "a"}', "an id is a text or a whole number"),
        ('{"id": "ab", "text": "a"}\n{"id": "b", "text": "b", "links": ["aa"]}', r":2: links to 'aa', and no passage"),
    ],
)
def test_bad_passages(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(rows)
    with pytest.raises(DataError, match=message):
        read_passages(tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the file has no queries"),
        ('{"id": 1, "question": " "}', r"q\.jsonl:1: no 'question'"),
        ('{"id": 1, "question": "a"}\n{"id": "1", "question": "b"}', r":2: the id '1' appears twice in this file"),
        ('{"id": 1, "question": "a", "supporting_ids": "b"}', "'supporting_ids' is a list"),
        ('{"question": "a"}', r"q\.jsonl:1: no id\."),
    ],
)
def test_bad_queries(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(rows)
    with pytest.raises(DataError, match=message):
        read_queries(tmp_path / "q.jsonl")


def test_rows_become_passages(tmp_path: Path) -> None:
    rows = [{"id": 7, "title": "t", "text": "one", "links": ["out", 2]}, {"_id": 2, "text": "two"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_passages(tmp_path / "p.jsonl", "notes", known=["notes/out"])
    assert first == ContextNode("notes/7", "notes", "t", "one", "p.jsonl", ("notes/out", "notes/2"))
    assert second == ContextNode("notes/2", "notes", "", "two", "p.jsonl")
    with pytest.raises(DataError, match=r"p\.jsonl:1: links to 'out', and no passage has this id\.$"):
        read_passages(tmp_path / "p.jsonl", "notes")


def test_rows_become_queries(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"_id": 1, "query": "who ?", "supporting_ids": [3, "a"]}\n\n{"id": "x", "question": "where ?"}\n')
    assert read_queries(path) == [Query("1", "who ?", ("3", "a")), Query("x", "where ?")]


def test_queries_about_the_same_passages_are_one_unit() -> None:
    assert Query("1", "who ?", ("a", "b")).sampling_unit == Query("2", "where ?", ("b", "a", "b")).sampling_unit
    assert Query("1", "who ?").sampling_unit != Query("1", "where ?").sampling_unit


def test_a_link_to_a_misspelt_id() -> None:
    with pytest.raises(DataError, match=r"here: links to 'kettel', and no passage.*Did you mean 'kettle'\?"):
        check_links(ContextNode("n/1", "n", "", "x", "", ("n/kettel",)), {"n/kettle"}, "here", "n/")


@pytest.mark.parametrize("column", ["id", "_id", "docid"])
def test_ids_are_read_where_neighbours_write_them(tmp_path: Path, column: str) -> None:
    rows = [{column: "MED-10", "text": "one"}, {column: 14.0, "title": "only a title", "text": ""}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [(p.id, p.text) for p in read_passages(tmp_path / "p.jsonl")] == [("MED-10", "one"), ("14", "only a title")]


def test_passages_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,title,text\n1,t,one\n2,,two\n")
    assert [(p.id, p.title, p.text) for p in read_passages(tmp_path / "p.csv")] == [("1", "t", "one"), ("2", "", "two")]
