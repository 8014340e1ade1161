"""The content of a graph file: order of nodes and relations, words of labels, files that it names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rag_graph.graph.spec import BUILT_IN_RELATIONS, GraphSpec, relative_paths

TASK: dict[str, Any] = {"kind": "generation", "metrics": {"bleu": 1.0}, "prompt": "x"}


def test_order_labels_and_files() -> None:
    spec = GraphSpec.model_validate(
        {
            "format": 1,
            "name": "g",
            "relations": {"mine": {"semantics": "credit"}},
            "contexts": {"n": {"kind": "passages", "file": "n.jsonl"}},
            "criteria": {"c": {"metric": "format"}},
            "tasks": {"t": {**TASK, "labels": {"1": "one"}, "dataset": {"path": "a.csv", "test": "b.csv"}}, "u": TASK},
        }
    )
    assert list(spec.node_kinds().items()) == [("t", "task"), ("u", "task"), ("c", "criterion"), ("n", "context")]
    assert list(spec.relation_types()) == [*BUILT_IN_RELATIONS, "mine"]
    assert spec.tasks["t"].label_words == ("one",)
    assert relative_paths(spec) == ["a.csv", "b.csv", "n.jsonl"]


@pytest.mark.parametrize("name", ["9a", "", "a b", "a" * 65])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValidationError):
        GraphSpec.model_validate({"format": 1, "name": name})
