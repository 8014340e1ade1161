"""A graph of one goal, and rows whose truth is known: the goal is what `right` and `form` make of it; `noise` is noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec


@pytest.fixture(scope="session")
def made_graph() -> Callable[..., AuxiliaryGraph]:
    """A graph of one task from relations (source, relation, strength)."""

    def make(*edges: tuple[str, str, float], tasks: tuple[str, ...] = ("goal",)) -> AuxiliaryGraph:
        goal = {
            "kind": "generation",
            "goal": 1.0,
            "metrics": {"external": 1.0},
            "fields": {"input": "text"},
            "prompt": "{input}",
        }
        names = dict.fromkeys(source for source, _, _ in edges)
        spec: dict[str, Any] = {
            "format": 1,
            "name": "made",
            "tasks": dict.fromkeys(tasks, goal),
            "criteria": {name: {"metric": "external"} for name in names},
            "edges": [
                {"from": source, "to": tasks[0], "relation": relation, "strength": strength}
                for source, relation, strength in edges
            ],
        }
        return AuxiliaryGraph(GraphSpec.model_validate(spec))

    return make


@pytest.fixture(scope="session")
def graph(made_graph: Callable[..., AuxiliaryGraph]) -> AuxiliaryGraph:
    return made_graph(("right", "indicates", 1.0), ("form", "bounds", 0.7), ("noise", "indicates", 0.5))


@pytest.fixture(scope="session")
def made_rows() -> Callable[..., list[dict[str, Any]]]:
    """Rows of groups of two; a share of the goals is observed."""

    def make(number: int = 120, goals: float = 1.0, seed: int = 0) -> list[dict[str, Any]]:
        rng = np.random.default_rng(seed)
        rows = []
        for row in range(number):
            right, noise, form = (float(value) for value in rng.random(3))
            scores = {"right": round(right, 3), "form": round(form, 3), "noise": round(noise, 3)}
            goal = min(1.0, (0.2 + 0.6 * right + 0.1 * rng.random()) * (0.3 + 0.7 * form))
            rows.append({"group": f"g{row // 2}", "scores": scores, "goal": goal if rng.random() < goals else None})
        return rows

    return make
