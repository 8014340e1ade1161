"""Graphs from Python and from networkx: the graph of the equal file, and its errors with the place in the arguments."""

from __future__ import annotations

from typing import Any

import networkx
import numpy as np
import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import Criterion, Task

TEXT = """\
format: 1
name: qa
title: Questions
relations:
  spoils: {semantics: counterindication}
tasks:
  correct: {goal: 1}
  kind: {goal: 0.5, kind: classification, labels: [a, b], metrics: {accuracy: 1}, prompt: "{x}", fields: {x: text, reference: label}}
criteria:
  form: {metric: format}
  length: {}
contexts:
  rules: {kind: guideline, text: Be brief.}
edges:
  - {from: length, to: correct, relation: spoils}
  - {from: form, to: correct, relation: prerequisite, strength: 0.9}
  - {from: rules, to: kind, relation: grounds, strength: 0.25, tuned: false}
"""


def test_the_same_graph_as_from_a_file() -> None:
    built = AuxiliaryGraph.build(
        tasks={
            "correct": np.float64(1),
            "kind": Task(goal=0.5, kind="classification", labels=("a", "b"), metrics={"accuracy": 1}, prompt="{x}", fields={"x": "text", "reference": "label"}),
        },
        criteria={"form": "format", "length": None},
        contexts={"rules": {"kind": "guideline", "text": "Be brief."}},
        relations={"spoils": {"semantics": "counterindication"}},
        edges=[
            ("length", "correct", "spoils"),
            ["form", "correct", "prerequisite", np.float32(0.5) + np.float32(0.25)],
            {"from": "rules", "to": "kind", "relation": "grounds", "strength": 0.25, "tuned": False},
        ],
        name="qa",
        title="Questions",
    )  # fmt: skip
    assert built.with_strengths([0.5, 0.9, 0.25]) == load_graph(TEXT)
    assert built.strength.tolist() == [0.5, 0.75, 0.25]


def test_short_forms_mean_what_they_say() -> None:
    graph = AuxiliaryGraph.build({"correct": 1}, ["form", "length"], [("form", "correct", "prerequisite", 0.9)])
    assert graph.spec.tasks == {"correct": Task(goal=1.0)}
    assert graph.spec.criteria == {"form": Criterion(metric="external"), "length": Criterion()}
    assert (graph.name, graph.edge_index.tolist(), graph.strength[0].item()) == (
        "graph",
        [[1], [0]],
        pytest.approx(0.9),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": {"a": {"gaol": 1}, "b": -1}}, "tasks.a.gaol: unknown key 'gaol'. Did you mean 'goal'?\ntasks.b.goal: -1 is below 0. A weight is a number from 0 to 1000."),
        ({"tasks": {"a": 1}, "edges": [("b", "a", "suports")]}, "edges[0].from: unknown node 'b'.\nedges[0].relation: unknown relation 'suports'. Did you mean 'supports'?"),
        ({"tasks": ["a"]}, "tasks: a list given. Write tasks={'correct': 1.0}: a name and its goal weight, or its keys."),
        ({"tasks": {"a": 1}, "criteria": "form"}, "criteria: a str given. Write criteria=['form', 'length'], or {'form': 'format'}."),
        ({"tasks": {"a": 1}, "criteria": ["b", "b"]}, "criteria: 'b' is stated twice. Keep one."),
        ({"tasks": {"a": 1}, "criteria": {"b": 2}}, "criteria.b: a map is expected, an int given."),
        ({"tasks": {"a": 1}, "edges": {"a": "b"}}, "edges: a dict given. Write edges=[('form', 'correct', 'prerequisite', 0.9)]."),
        ({"tasks": {"a": 1}, "edges": [("a", "b")]}, "edges[0]: ('a', 'b') is no relation. Write (from, to, relation) or (from, to, relation, strength)."),
        ({"tasks": {}}, "tasks: a graph needs at least one task."),
    ],
)  # fmt: skip
def test_errors_name_the_key(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphFileError) as error:
        AuxiliaryGraph.build(**arguments)
    assert str(error.value) == message


def test_networkx_and_back() -> None:
    for name in (TEXT, "parcels", "news", "four_tasks"):
        graph = load_graph(name)
        assert AuxiliaryGraph.from_networkx(graph.networkx) == graph
        assert load_graph(graph.networkx) == graph


def test_a_graph_made_by_hand() -> None:
    drawn = networkx.DiGraph(name="qa")
    drawn.add_node("correct", goal=1.0)
    drawn.add_node("topic", kind="classification", labels=["a", "b"])
    drawn.add_node("aux", kind="task", title="Another task")
    drawn.add_node("notes", kind="guideline", text="Be brief.")
    drawn.add_edge("form", "correct", relation="prerequisite", strength=0.9)
    drawn.add_edge("notes", "topic", relation="grounds", tuned=False)
    graph = load_graph(drawn)
    assert graph == AuxiliaryGraph.build(
        {"correct": 1.0, "topic": {"kind": "classification", "labels": ["a", "b"]}, "aux": {"title": "Another task"}},
        ["form"],
        [{"from": "notes", "to": "topic", "relation": "grounds", "tuned": False}, ("form", "correct", "prerequisite", 0.9)],
        contexts={"notes": {"kind": "guideline", "text": "Be brief."}},
        name="qa",
    )  # fmt: skip


def test_a_change_of_the_view_is_read() -> None:
    view = load_graph(TEXT).networkx.copy()
    view.nodes["correct"]["goal"] = 2.0
    view.edges["form", "correct", "prerequisite"]["strength"] = 0.1
    view.add_edge("length", "kind", key="supports", strength=0.2)
    graph = load_graph(view)
    assert graph.spec.tasks["correct"].goal == 2
    assert [edge.strength for edge in graph.spec.edges] == [0.5, 0.1, 0.25, 0.2]


def test_what_is_no_graph_of_networkx() -> None:
    with pytest.raises(GraphFileError, match="A relation has a source and a target: use networkx.DiGraph"):
        load_graph(networkx.Graph())
    drawn = networkx.DiGraph()
    drawn.add_node("correct", kind="taks")
    drawn.add_edge("form", "correct")
    with pytest.raises(GraphFileError) as error:
        load_graph(drawn)
    assert str(error.value).splitlines() == [
        "node correct: kind 'taks' is none of task, criterion, context, classification, generation, extraction, guideline, exemplars, passages. Did you mean 'task'?",
        "edge form -> correct: no relation. Write add_edge('form', 'correct', relation='prerequisite', strength=0.9).",
    ]
    drawn = networkx.DiGraph()
    drawn.add_node("correct", gaol=1, kind="task")
    with pytest.raises(GraphFileError, match=r"tasks.correct.gaol: unknown key 'gaol'. Did you mean 'goal'\?"):
        load_graph(drawn)
