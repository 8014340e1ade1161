"""Tables of human judgements beside partial scores, and what a researcher believed about them before any fit, as graphs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec

RELATIONS = {"bounds": "bounds", "indicates": "indicates", "against": "indicates_low"}
"""Keys of beliefs.json -> relations."""
GOAL = "goal"
SHARE = 0.6
"""Of the groups that a split fits on; the rest is judged."""


@dataclass(frozen=True)
class Table:
    """Rows of one set. n rows, k criteria."""

    name: str
    criteria: tuple[str, ...]
    scores: NDArray[np.float64]  # [n, k], NaN where not given
    goal: NDArray[np.float64]  # [n]
    group: NDArray[np.int64]  # [n] rows of one source share a number
    graph: AuxiliaryGraph


@dataclass(frozen=True)
class Split:
    """Two parts of a table, cut between groups; criteria hidden at random in both."""

    train: NDArray[np.float64]  # [n, k]
    train_goal: NDArray[np.float64]
    labelled: NDArray[np.int64]  # rows of `train` whose goal is seen
    test: NDArray[np.float64]
    test_goal: NDArray[np.float64]
    test_group: NDArray[np.int64]


def folder() -> Path | None:
    """`human_labels` under $RAG_GRAPH_DATA, or None."""
    root = os.environ.get("RAG_GRAPH_DATA")
    found = Path(root) / "human_labels" if root else None
    return found if found and (found / "beliefs.json").is_file() else None


def belief_graph(name: str, beliefs: Mapping[str, list[str]]) -> AuxiliaryGraph:
    """One goal, a criterion for each belief, every strength at its default."""
    goal = {
        "kind": "generation",
        "goal": 1.0,
        "metrics": {"external": 1.0},
        "fields": {"input": "text"},
        "prompt": "{input}",
    }
    named = [(criterion, RELATIONS[key]) for key in RELATIONS for criterion in beliefs[key]]
    spec: dict[str, Any] = {
        "format": 1, "name": name, "tasks": {GOAL: goal},
        "criteria": {criterion: {"metric": "external"} for criterion, _ in named},
        "edges": [{"from": criterion, "to": GOAL, "relation": relation} for criterion, relation in named],
    }  # fmt: skip
    return AuxiliaryGraph(GraphSpec.model_validate(spec))


def load(where: Path, name: str, part: str = "dev") -> Table:
    """A set with its belief graph; only the criteria that the beliefs name are read."""
    graph = belief_graph(name, json.loads((where / "beliefs.json").read_text(encoding="utf-8"))[name])
    criteria = tuple(graph.spec.criteria)
    rows = [json.loads(line) for line in (where / f"{name}.{part}.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = np.array([[row["scores"].get(name, np.nan) for name in criteria] for row in rows], dtype=float)
    group = np.unique([str(row["group"]) for row in rows], return_inverse=True)[1]
    return Table(name, criteria, scores, np.array([float(row["goal"]) for row in rows]), group, graph)


def split(table: Table, seed: int, goals: int, hidden: float) -> Split:
    """A random split: SHARE of the groups to fit on. Of their rows `goals`, at most half, have a goal; a share `hidden` of all scores is removed."""
    rng = np.random.default_rng([seed, goals, round(100 * hidden), len(table.goal)])
    groups = rng.permutation(table.group.max() + 1)
    train = np.isin(table.group, groups[: round(SHARE * len(groups))])
    parts = table.scores[train].copy(), table.scores[~train].copy()
    for part in parts:
        part[rng.random(part.shape) < hidden] = np.nan
    labelled = rng.permutation(len(parts[0]))[: min(goals, len(parts[0]) // 2)]
    return Split(parts[0], table.goal[train], labelled, parts[1], table.goal[~train], table.group[~train])
