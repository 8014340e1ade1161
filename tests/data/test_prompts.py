"""Templates of prompts: fields, labels and evidence."""

from __future__ import annotations

import pytest

from rag_graph.data.prompts import render_evidence, render_prompt
from rag_graph.errors import DataError
from rag_graph.graph import load_graph
from rag_graph.graph.spec import Task
from rag_graph.records import ContextNode, Evidence, Example

PARCELS = load_graph("parcels")


def test_prompts_are_filled_once() -> None:
    task = PARCELS.spec.tasks["question"]
    example = Example("1", "question", {"input": "braces {question} stay", "question": "who ?"})
    evidence = [Evidence(ContextNode("n", "archive", "", f"record {i}"), 1.0, i) for i in (1, 2)]
    assert render_prompt(task, example) == "braces {question} stay who ?"
    assert render_prompt(task, example, evidence) == "braces {question} stay record 1\nrecord 2 who ?"


def test_labels_and_the_place_of_missing_evidence() -> None:
    task = PARCELS.spec.tasks["topic"].model_copy(
        update={"labels": {"World": "world", "Sci/Tech": "technology"}, "prompt": "{context}\n{input} ({labels}) ?\n"}
    )
    example = Example("1", "topic", {"input": "one"})
    evidence = [Evidence(ContextNode(str(i), "", "", text), 1.0, i) for i, text in enumerate(["b", "a"], 1)]
    assert render_evidence(evidence) == "b\na", "in the order of the ranks"
    assert render_prompt(task, example) == "one (world, technology) ?"
    assert render_prompt(task, example, evidence) == "b\na\none (world, technology) ?"


def test_a_task_without_a_prompt_says_what_to_add() -> None:
    with pytest.raises(DataError, match="task 't' has no prompt. Add 'prompt:' to it in the graph file"):
        render_prompt(Task(goal=1.0), Example("1", "t", {"input": "a"}))


def test_a_prompt_may_have_braces_and_fields_of_any_name() -> None:
    task = Task(prompt="{context}\n{\u95ee\u9898} {user query} Put it in \\boxed{{answer}}.")
    example = Example("1", "t", {"\u95ee\u9898": "\u8c01 ?", "user query": "q"})
    assert render_prompt(task, example) == "\u8c01 ? q Put it in \\boxed{answer}."
