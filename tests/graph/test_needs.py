"""What a run needs that a graph lacks: which keys of which task, at its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.needs import check_for_run, missing_for_run

REWARD_ONLY = """\
format: 1
name: qa
include: [more.yaml]
tasks:
  correct: {goal: 1}
  short: {kind: generation, dataset: {path: x.csv}, fields: {input: x, reference: y}, prompt: "{input}"}
criteria: {form: {}}
"""
MORE = "tasks:\n  polite: {kind: generation, metrics: {bleu: 1}}\n"
"""Included: its problems stand at their place in it."""


def test_every_task_is_told_at_once(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    write_graph(MORE, "more.yaml")
    path = write_graph(REWARD_ONLY)
    found = [
        str(problem).replace(f"{tmp_path}/", "").partition(" Add ")[0] for problem in missing_for_run(load_graph(path))
    ]
    assert found == [
        "g.yaml:5:3: tasks.correct: a run needs kind, dataset, fields, metrics and prompt, which this task lacks.",
        "g.yaml:6:3: tasks.short: a run needs metrics, which this task lacks.",
        "more.yaml:2:3: tasks.polite: a run needs dataset, fields and prompt, which this task lacks.",
    ]


def test_a_function_takes_the_place_of_metrics(write_graph: Callable[..., Path]) -> None:
    write_graph(MORE, "more.yaml")
    found = [problem.text for problem in missing_for_run(load_graph(write_graph(REWARD_ONLY)), {"correct", "short"})]
    assert ["metrics" in text for text in found] == [False, False], "polite has metrics, short needs nothing more"


def test_what_to_write_is_said_and_shipped_graphs_lack_nothing() -> None:
    graph = AuxiliaryGraph.build({"correct": {"goal": 1, "kind": "generation"}})
    with pytest.raises(GraphFileError) as error:
        check_for_run(graph)
    assert str(error.value) == (
        "tasks.correct: a run needs dataset, fields, metrics and prompt, which this task lacks. Add dataset: {path: FILE, test: FILE}; "
        "fields: {input: COLUMN, reference: COLUMN}; metrics: {exact_match: 1.0}, or a function of your own that scores it; "
        'prompt: "{input}".'
    )
    for name in ("parcels", "news", "four_tasks"):
        check_for_run(load_graph(name))
