"""The content of a graph file: order of nodes and relations, words of labels, files that it names."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from rag_graph.graph.spec import BUILT_IN_RELATIONS, ROLES, GraphSpec, Relation, Role, Semantics, relative_paths

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


def test_every_relation_is_a_fact_or_a_rule_or_neither() -> None:
    roles: dict[Role, list[str]] = {"fact": [], "rule": [], "neither": []}
    for name, relation in BUILT_IN_RELATIONS.items():
        roles[relation.role].append(name)
    assert roles == {
        "fact": ["bounds", "indicates", "indicates_low"],
        "rule": ["prerequisite", "supports", "conflicts", "part_of"],
        "neither": ["shares_structure", "grounds"],
    }
    assert tuple(ROLES) == get_args(Semantics)


def test_a_relation_of_a_file_has_the_role_of_its_semantics() -> None:
    assert Relation(semantics="counterindication").role == "fact"
    assert Relation(semantics="penalty").role == "rule"
    assert Relation(semantics="message").role == "neither"
