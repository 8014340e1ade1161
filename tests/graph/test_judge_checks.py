"""What a file asks a judge is checked, with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rag_graph.graph.judge_checks import check_judge
from rag_graph.graph.reader import check_graph


def said(args: Any, by_item: bool = False) -> list[str]:
    return [
        f"{'.'.join(map(str, place))}: {message}" for place, message in check_judge(("criteria", "kind"), args, by_item)
    ]


@pytest.mark.parametrize(
    "args", [{"question": "Is it kind?"}, {"question": "?", "scale": [0, 2.5], "reference": True, "judge": "a"}]
)
def test_what_is_right_is_silent(args: Any) -> None:
    assert said(args) == []


def test_items_are_questions() -> None:
    assert said({}, by_item=True) == []
    assert said({}) == ["criteria.kind.args: metric 'judge' needs args: {question: WHAT TO ASK ABOUT AN ANSWER}."]


@pytest.mark.parametrize("scale", [[5, 1], [1], [1, 1], "1-5", [0, float("inf")], [False, True], {"low": 1}])
def test_a_scale_is_two_numbers_the_lower_first(scale: Any) -> None:
    assert said({"question": "?", "scale": scale}) == [
        f"criteria.kind.args.scale: {scale!r} is not a scale: two numbers, the lower one first, as in [1, 5]."
    ]


def test_wrong_names_and_types() -> None:
    assert said({"question": 3, "refrence": True, "reference": 1, "judge": ""}) == [
        "criteria.kind.args.question: 3 is not text.",
        "criteria.kind.args.refrence: metric 'judge' has no argument 'refrence'. Did you mean 'reference'? It takes question, scale, reference, judge.",
        "criteria.kind.args.reference: 1 is not true or false.",
        "criteria.kind.args.judge: '' is not text.",
    ]


@pytest.mark.parametrize(
    ("task", "needed"),
    [
        ({"metrics": {"judge": 1.0}, "args": {"question": "Right?"}}, False),
        ({"metrics": {"judge": 1.0, "rouge_l": 0.0}, "args": {"question": "Right?"}}, False),
        ({"metrics": {"judge": 1.0}, "args": {"question": "Right?", "reference": True}}, True),
        ({"metrics": {"judge": 1.0, "rouge_l": 0.5}, "args": {"question": "Right?"}}, True),
        ({"metrics": {"rouge_l": 1.0}}, True),
    ],
)
def test_a_task_that_only_a_judge_scores_needs_no_reference(task: Any, needed: bool) -> None:
    columns = {"kind": "generation", "dataset": {"path": "x.jsonl"}, "fields": {"input": "text"}, "prompt": "{input}"}
    text = json.dumps({"format": 1, "name": "g", "tasks": {"reply": {**task, **columns}}}, indent=1)
    _, problems = check_graph(text)
    assert any("no 'reference'" in str(problem) for problem in problems) == needed
