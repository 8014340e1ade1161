"""Data: the made set, files of all kinds, and errors that name the row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from rag_graph.config import DataConfig
from rag_graph.data.examples import read_examples
from rag_graph.data.load import load_contexts, load_data
from rag_graph.data.prompts import render_prompt
from rag_graph.errors import DataError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.records import Example, Item

PARCELS = load_graph("parcels")


def test_load_balances_tasks_and_hashes() -> None:
    data = load_data(PARCELS, DataConfig(train=60, test=30), seed=0)
    counts = {name: sum(e.task == name for e in data.train) for name in PARCELS.spec.tasks}
    assert counts == dict.fromkeys(PARCELS.spec.tasks, 60)
    assert len(data.groups) == 60
    assert len({prompt for group in data.groups for prompt in [group[0][0].inputs["input"]]}) == len(data.groups)
    again = load_data(PARCELS, DataConfig(train=60, test=30), seed=0)
    assert again.hashes == data.hashes
    assert load_data(PARCELS, DataConfig(train=60, test=30), seed=1).hashes != data.hashes


def test_reserved_references_are_in_no_demonstration() -> None:
    data = load_data(PARCELS, DataConfig(train=60, test=30), seed=0, reserved=0.2)
    everything = load_data(PARCELS, DataConfig(train=60, test=30), seed=0)
    assert data.train == everything.train, "reserved examples are asked and audited"
    assert 0.1 < len(data.reserved) / len(data.train) < 0.3
    asked = {example.id for example in data.train}
    shown = {example.id for group in data.groups for example, _ in group}
    assert data.reserved <= asked
    assert not data.reserved & shown
    assert asked - data.reserved <= shown, "all others are demonstrated"
    assert {example.id for example in data.shown} == asked - data.reserved
    assert all(data.groups)
    assert everything.reserved == frozenset()


FILES = """\
format: 1
name: g
tasks:
  topic:
    kind: classification
    labels: {{World: world, Sci/Tech: technology}}
    dataset: {{path: {train}, test: test.jsonl}}
    fields: {{input: text, reference: label}}
    metrics: {{accuracy: 1.0}}
    prompt: "{{context}} {{input}} ({{labels}}) ?"
contexts:
  solved: {{kind: exemplars, of: topic, limit: 2}}
  notes: {{kind: passages, file: notes.jsonl}}
edges:
  - {{from: solved, to: topic, relation: grounds}}
  - {{from: notes, to: topic, relation: grounds}}
"""
ROWS = [
    {"id": "a", "text": "one", "label": "World"},
    {"id": "b", "text": "two", "label": "Sci/Tech"},
    {"id": "c", "text": "three", "label": "World"},
]


@pytest.fixture
def project(tmp_path: Path, write_graph: Callable[..., Path]) -> Callable[..., Path]:
    def make(train: str = "train.jsonl", rows: list[dict[str, Any]] = ROWS) -> Path:
        lines = "\n".join(map(json.dumps, rows)) + "\n"
        (tmp_path / "train.jsonl").write_text(lines)
        (tmp_path / "test.jsonl").write_text(lines)
        (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        pandas.DataFrame(ROWS).to_csv(tmp_path / "train.csv", index=False)
        pandas.DataFrame(ROWS).to_parquet(tmp_path / "train.parquet")
        (tmp_path / "notes.jsonl").write_text(
            json.dumps({"id": 1, "title": "t", "text": "a note", "links": [2]})
            + "\n"
            + json.dumps({"id": 2, "text": "b"})
        )
        return write_graph(FILES.format(train=train))

    return make


@pytest.mark.parametrize("train", ["train.jsonl", "train.jsonl.gz", "train.csv", "train.parquet"])
def test_every_kind_of_file(project: Callable[..., Path], train: str) -> None:
    data = load_data(load_graph(project(train)), DataConfig(), seed=0)
    assert sorted((e.id, e.inputs["input"], e.references) for e in data.train) == [
        ("topic/a", "one", ("world",)), ("topic/b", "two", ("technology",)), ("topic/c", "three", ("world",)),
    ]  # fmt: skip
    nodes = data.contexts["train"]
    assert [node.node for node in nodes] == ["solved", "solved", "notes", "notes"]
    assert nodes[2].links == ("notes/2",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "d", "text": "x", "label": "Wrold"}, r"train\.jsonl:2: label 'Wrold' is none of task 'topic'. Did you mean 'World'\? Its labels: World, Sci/Tech"),
        ({"id": "d", "text": {"a": 1}, "label": "World"}, r"train\.jsonl:2: column 'text' is dict"),
        ({"id": "d", "text": float("nan"), "label": "World"}, r"train\.jsonl:2: 'text' is empty: there is nothing to ask"),
        ({"id": "d", "text": float("inf"), "label": "World"}, r"train\.jsonl:2: column 'text' is float 'inf', not text"),
        ({"text": "x", "label": "World"}, r"train\.jsonl:2: the row has no id, and the row at .*train\.jsonl:1 has the id 'a'"),
        ({"id": "a", "text": "x", "label": "World"}, r"train\.jsonl:2: the id 'a' appears twice in this data set"),
        ({"id": "d", "text": "\ud800", "label": "World"}, r"train\.jsonl:2: column 'text' has half of a surrogate pair"),
        ({"id": "d", "txt": "x", "label": "World"}, r"train\.jsonl:2: no column 'text', which task 'topic' reads as 'input'. Did you mean 'txt'\?"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(project: Callable[..., Path], row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(load_graph(project(rows=[ROWS[0], row])), DataConfig(), seed=0)


def test_missing_and_empty_files(project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = load_graph(project("gone.jsonl"))
    monkeypatch.delenv("RAG_GRAPH_DATA", raising=False)
    with pytest.raises(DataError, match=r"data file 'gone.jsonl' was not found at .*\$RAG_GRAPH_DATA is not set"):
        load_data(graph, DataConfig(), seed=0)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/gone.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    monkeypatch.setenv("RAG_GRAPH_DATA", str(tmp_path / "elsewhere"))
    assert len(load_data(graph, DataConfig(), seed=0).train) == 3
    (tmp_path / "elsewhere/gone.jsonl").write_text("")
    with pytest.raises(DataError, match="task 'topic': its train data set is empty"):
        load_data(graph, DataConfig(), seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [("text,label\nfoo,World,zzz\n", r"train\.csv:2: the row has another number of cells"), ("text,label\nfoo\n", r"train\.csv:2: the row has another number of cells"), ('text,label\n"three\n\nlines",World\nx,Wrld\n', r"train\.csv:5: label 'Wrld'")],
)  # fmt: skip
def test_csv_rows_are_whole_and_named_by_their_line(
    project: Callable[..., Path], tmp_path: Path, content: str, message: str
) -> None:
    graph = load_graph(project("train.csv"))
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(graph, DataConfig(), seed=0)


def test_parquet_keeps_lists_and_refuses_rows_that_ask_nothing(project: Callable[..., Path], tmp_path: Path) -> None:
    graph = load_graph(project("train.parquet"))
    pandas.DataFrame([{"text": "x", "label": ["World", "Sci/Tech"]}]).to_parquet(tmp_path / "train.parquet")
    assert load_data(graph, DataConfig(), seed=0).train[0].references == ("world", "technology")
    pandas.DataFrame([{"text": None, "label": "World"}]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet:1: 'text' is empty"):
        load_data(graph, DataConfig(), seed=0)


def test_bad_passages_are_named(project: Callable[..., Path], tmp_path: Path) -> None:
    graph = load_graph(project())
    for content, message in (
        ('{"id": 1}', r"notes\.jsonl:1: no 'text'"),
        ('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', r"notes\.jsonl:2: id '1' is also on line 1"),
        ('{"id": 1, "text": "a", "links": 3}', r"notes\.jsonl:1: 'links' is a list"),
        ("", "the file has no passages"),
    ):
        (tmp_path / "notes.jsonl").write_text(content)
        with pytest.raises(DataError, match=message):
            load_contexts(graph, "train", [])


def test_examples_for_evaluation_from_any_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"input": "a b", "reference": "kitchen"}))
    (example,) = read_examples(path, "topic", PARCELS)
    assert example == Example("topic/row0", "topic", {"input": "a b"}, ("kitchen",))


def test_real_data_loads(real_data: Path) -> None:
    for name in ("news", "four_tasks"):
        data = load_data(load_graph(name), DataConfig(train=20, test=10), seed=0)
        assert len(data.train) == 20 * len(load_graph(name).spec.tasks)
        assert all(example.references for example in data.test)


def test_no_exemplar_shows_a_reserved_reference(project: Callable[..., Path]) -> None:
    rows = [{"id": str(i), "text": f"text {i}", "label": ("World", "Sci/Tech")[i % 2]} for i in range(40)]
    file = project(rows=rows)
    stated = file.read_text().replace("limit: 2", "limit: 20")
    file.write_text(stated.replace("    metrics:", "    goal: 1.0\n    metrics:"))
    data = load_data(load_graph(file), DataConfig(), seed=0, reserved=0.3)
    assert 4 < len(data.reserved) < 20
    for split in ("train", "test"):
        exemplars = [node.source for node in data.contexts[split] if node.node == "solved"]
        assert len(exemplars) == 20, "the others take their place"
        assert not data.reserved & set(exemplars)


def test_the_unit_of_an_example_is_a_column_or_else_its_text(tmp_path: Path) -> None:
    fields = {"input": "text", "reference": "label"}
    task = AuxiliaryGraph.build({"topic": {"fields": {**fields, "unit": "passage"}}})
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "x", "label": "audio", "passage": 7}\n{"text": "y", "label": "audio", "passage": 7}\n')
    assert [(e.unit, e.sampling_unit, dict(e.inputs)) for e in read_examples(path, "topic", task)] == [
        ("7", "7", {"input": "x"}),
        ("7", "7", {"input": "y"}),
    ]
    plain = AuxiliaryGraph.build({"topic": {"fields": fields}})
    assert [e.sampling_unit for e in read_examples(path, "topic", plain)] == ["x", "y"]
    path.write_text('{"text": "x", "label": "audio"}\n')
    with pytest.raises(DataError, match="no column 'passage', which task 'topic' reads as 'unit'"):
        read_examples(path, "topic", task)


def test_a_passage_of_parcels_is_one_unit_of_all_its_tasks() -> None:
    data = load_data(PARCELS, DataConfig(train=8, test=20), seed=0)
    by_task = {name: [e.sampling_unit for e in data.test if e.task == name] for name in PARCELS.spec.tasks}
    assert list(by_task.values()) == [[f"test/{k}" for k in range(20)]] * 4


UNDIVIDED = """\
format: 1
name: g
tasks:
  question:
    kind: extraction
    goal: 1.0
    dataset: {path: all.csv}
    fields: {question: question, input: context, reference: answer}
    metrics: {exact_match: 1.0}
    prompt: "{input} {question}"
  topic:
    kind: classification
    labels: [red, blue]
    dataset: {path: all.csv}
    fields: {input: context, reference: labels}
    metrics: {accuracy: 1.0}
    prompt: "{input} ?"
"""


def test_a_share_is_held_out_where_the_data_set_states_no_part(
    tmp_path: Path, write_graph: Callable[..., Path]
) -> None:
    """Of 40 passages, each with two rows; both tasks read them."""
    rows = [
        {"id": f"{p}.{n}", "question": f"{n} ?", "context": f"passage {p}", "answer": "x", "labels": "red"}
        for p in range(40)
        for n in range(2)
    ]
    pandas.DataFrame(rows).to_csv(tmp_path / "all.csv", index=False)
    graph = load_graph(write_graph(UNDIVIDED))
    with pytest.raises(
        DataError, match=r"no held-out part .* data.test_share in the config, such as --set data.test_share=0.2"
    ):
        load_data(graph, DataConfig(), seed=0)
    data = load_data(graph, DataConfig(test_share=0.25), seed=0)
    assert len(data.test) == 40
    assert len(data.train) == 120
    sides = [{example.inputs["input"] for example in part} for part in (data.train, data.test)]
    assert len(sides[0]) == 30
    assert len(sides[1]) == 10
    assert not sides[0] & sides[1], "a passage is on one side, in both tasks"
    assert {example.id for example in data.train}.isdisjoint(example.id for example in data.test)
    assert {pair[0].id for group in data.groups for pair in group} == {example.id for example in data.train}
    other = load_data(graph, DataConfig(test_share=0.25, test=5, train=7), seed=1)
    assert {example.id for example in other.test} <= {example.id for example in data.test}, (
        "for every seed the same part"
    )
    assert (len(other.test), len(other.train)) == (10, 14)
    pandas.DataFrame(rows[:2]).to_csv(tmp_path / "all.csv", index=False)
    with pytest.raises(DataError, match="with data.test_share 0.25, none of its 2 rows is in the held-out part"):
        load_data(graph, DataConfig(test_share=0.25), seed=0)


def test_a_stated_part_stays_what_it_is(project: Callable[..., Path]) -> None:
    graph = load_graph(project())
    assert load_data(graph, DataConfig(test_share=0.5), seed=0).hashes == load_data(graph, DataConfig(), seed=0).hashes


def test_columns_may_be_called_like_placeholders(tmp_path: Path) -> None:
    """What counts is our name of a field; the prompt shows the column that it reads."""
    fields = {"passage": "context", "kind": "labels", "input": "input", "asked": "prompt", "reference": "reference"}
    prompt = "{passage} | {kind} | {input} | {asked} | {labels} | {context}"
    task = PARCELS.spec.tasks["topic"].model_copy(update={"fields": fields, "prompt": prompt, "labels": ("a", "b")})
    graph = AuxiliaryGraph(PARCELS.spec.model_copy(update={"tasks": {"topic": task}}))
    row = {"context": "C", "labels": "L", "input": "I", "prompt": "P", "reference": "a"}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    (example,) = read_examples(tmp_path / "t.jsonl", "topic", graph)
    assert render_prompt(task, example) == "C | L | I | P | a, b |"
    assert example.references == ("a",)


def test_a_rubric_comes_with_its_example(tmp_path: Path) -> None:
    graph = AuxiliaryGraph.build(
        {"t": {"fields": {"input": "x", "reference": "y"}, "dataset": {"path": "t.jsonl", "test": "t.jsonl"}, "kind": "generation"}},
        {"rubric": {"items": "goals"}},
        root=tmp_path,
    )  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"x": "a", "y": "b", "goals": [{"criterion": "names b", "weight": 3}, {"criterion": "is rude", "weight": -1}]},
        {"x": "c", "y": "d", "goals": None},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    first, second = read_examples(path, "t", graph)
    assert first.items == {"rubric": (Item("names b", 3.0), Item("is rude", -1.0))}
    assert second.items == {}
    loaded = load_data(graph, DataConfig(), seed=0)
    assert {len(example.items) for example in loaded.train} == {0, 1}
    rows[0]["goals"][0]["weight"] = 2
    path.write_text("\n".join(map(json.dumps, rows)))
    assert load_data(graph, DataConfig(), seed=0).hashes != loaded.hashes
    pandas.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    assert read_examples(tmp_path / "t.parquet", "t", graph)[0].items["rubric"][0] == Item("names b", 2.0)
    rows[0]["goals"] = [{"criterion": "names b"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"t.jsonl:1: column 'goals', item 1 \('names b'\) has no 'weight'. Write"):
        read_examples(path, "t", graph)
    path.write_text('{"x": "a", "y": "b", "gaols": []}')
    with pytest.raises(
        DataError,
        match=r"t.jsonl:1: no column 'goals', which the rubric 'rubric' reads its items from. Did you mean 'gaols'\?",
    ):
        load_data(graph, DataConfig(), seed=0)


UNLABELLED = [
    {"text": "one", "label": "World"},
    {"text": "two", "label": "Sci/Tech"},
    {"text": "three", "label": None},
    {"text": "four", "label": ""},
    {"text": "five"},
]


def test_what_has_no_reference_is_asked_and_shown_to_nobody(project: Callable[..., Path]) -> None:
    graph = load_graph(project(rows=UNLABELLED))
    data = load_data(graph, DataConfig(), seed=0)
    bare = {"three", "four", "five"}
    assert {example.text for example in data.train} == {"one", "two", *bare}
    assert {example.text for example in data.train if not example.references} == bare
    assert {example.text for group in data.groups for example, _ in group} == {"one", "two"}, "no demonstration"
    sources = {node.source for node in data.contexts["train"] if node.node == "solved"}
    assert sources == {example.id for example in data.train if example.references}, "both, though limit is 2"
    assert data.unlabelled == {"topic": {"train": (3, 5), "test": (3, 5)}}
    assert data.notes == [
        "task 'topic': 3 of 5 training examples and 3 of 5 held-out examples have no reference: in training their score is predicted, and no demonstration shows them; they are not evaluated."
    ]
    only = load_data(graph, DataConfig(), seed=0, splits=("test",))
    assert only.notes == ["task 'topic': 3 of 5 held-out examples have no reference: they are not evaluated."]


def test_nothing_is_said_where_every_row_has_a_reference(project: Callable[..., Path]) -> None:
    data = load_data(load_graph(project()), DataConfig(), seed=0)
    assert (data.unlabelled, data.notes) == ({}, [])
    assert load_data(PARCELS, DataConfig(train=10, test=10), seed=0).notes == []
