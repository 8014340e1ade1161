"""Tables of scores with prices: the sets of human judgements and the pools of real answers, as graphs and rows."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.runtime import read_jsonl

HERE = Path(__file__).parent
HUMAN = ("frank", "rubric_synth", "rubric_real", "topical_chat", "nlg_quality", "fed_turn", "fed_dialog")
POOLS = ("headline", "dialogue", "question", "kind")
RELATIONS = {"bounds": "bounds", "indicates": "indicates", "against": "indicates_low"}
SHARE = 0.6
"""Of the groups that a split learns from; the rest is judged."""
MOST_ROWS = 192
"""Rows at most, in the stream and of those that are kept apart: so that a split takes seconds."""
POOL_PROMPTS = 12, 12
"""Prompts of a pool that a split learns from, and that are judged; 16 answers each."""
DEV_SHARE = 0.6


@dataclass(frozen=True)
class Table:
    """n rows, k criteria."""

    name: str
    goal_name: str
    criteria: tuple[str, ...]
    scores: NDArray[np.float64]  # [n, k], NaN where not given
    goal: NDArray[np.float64]  # [n]
    group: NDArray[np.int64]  # [n] rows of one source, or of one prompt, share a number
    is_dev: NDArray[np.bool_]  # [n] of a pool: choices may look at it
    within: bool  # rows are compared within their group only
    spec: dict[str, Any]
    prices: dict[str, float]

    def graph(self, goal_for_sale: bool = True) -> AuxiliaryGraph:
        """With prices; the goal's may be left out."""
        spec = json.loads(json.dumps(self.spec))
        for name in self.criteria:
            spec["criteria"][name] = {"metric": "external", "cost": float(self.prices[name])}
        spec["tasks"][self.goal_name]["cost"] = float(self.prices["goal"]) if goal_for_sale else 0.0
        return AuxiliaryGraph(GraphSpec.model_validate(spec))

    def price(self, with_goal: bool) -> float:
        """Of all scores of a row."""
        return sum(self.prices[name] for name in (*self.criteria, *(("goal",) if with_goal else ())))


def human_folder() -> Path | None:
    """`human_labels` under $RAG_GRAPH_DATA, or None."""
    root = os.environ.get("RAG_GRAPH_DATA")
    found = Path(root) / "human_labels" if root else None
    return found if found and (found / "beliefs.json").is_file() else None


def prices_of(name: str) -> dict[str, float]:
    found: dict[str, Any] = json.loads((HERE / "prices.json").read_text(encoding="utf-8"))[name]
    return {node: float(price) for node, price in found.items() if node != "_why"}


def load_human(where: Path, name: str, prices: dict[str, float] | None = None) -> Table:
    """A set of human judgements with the graph of its beliefs; criteria that the beliefs do not name have no relation."""
    prices = prices or prices_of(name)
    beliefs = json.loads((where / "beliefs.json").read_text(encoding="utf-8"))[name]
    criteria = tuple(node for node in prices if node != "goal")
    edges = [
        {"from": node, "to": "goal", "relation": relation}
        for key, relation in RELATIONS.items()
        for node in beliefs[key]
    ]
    spec = {
        "format": 1,
        "name": name,
        "tasks": {"goal": {"goal": 1.0, "metrics": {"external": 1.0}}},
        "criteria": {node: {"metric": "external"} for node in criteria},
        "edges": edges,
    }
    rows = [row for _, row in read_jsonl(where / f"{name}.dev.jsonl")]
    return _table(name, "goal", criteria, rows, spec, prices, False)


def load_pool(folder: Path, name: str) -> Table:
    """A stored pool (`experiments/pool`) with its graph; answers are compared within their prompt."""
    graph = load_graph(HERE.parent / "pool" / "graphs" / f"{name}.yaml")
    (task,) = graph.spec.tasks
    criteria = tuple(graph.spec.criteria)
    edges = [
        {"from": one.source, "to": one.target, "relation": one.relation, "strength": one.strength}
        for one in graph.spec.edges
        if one.source in criteria
    ]
    spec = {
        "format": 1,
        "name": name,
        "tasks": {task: {"goal": 1.0, "metrics": {"external": 1.0}}},
        "criteria": {node: {"metric": "external"} for node in criteria},
        "edges": edges,
    }
    rows = [row for _, row in read_jsonl(folder / f"{name}.jsonl")]
    return _table(name, task, criteria, rows, spec, prices_of(name), True)


def _table(
    name: str,
    goal_name: str,
    criteria: tuple[str, ...],
    rows: list[dict[str, Any]],
    spec: dict[str, Any],
    prices: dict[str, float],
    within: bool,
) -> Table:
    scores = np.array([[row["scores"].get(node, np.nan) for node in criteria] for row in rows], dtype=float)
    group = np.unique([str(row["group"]) for row in rows], return_inverse=True)[1]
    goal = np.array([float(row["goal"]) for row in rows])
    is_dev = np.array([_is_dev(str(row.get("source") or row["group"])) for row in rows])
    return Table(name, goal_name, criteria, scores, goal, group, is_dev, within, spec, prices)


def _is_dev(source: str) -> bool:
    """As in `experiments/pool`: a hash of the source."""
    digest = hashlib.blake2b(source.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < DEV_SHARE


def split(table: Table, seed: int, part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows to learn from, in random order; rows that are kept apart). No group is on both sides.

    Args:
        part: of a pool, 'dev' or 'test': where the prompts come from that are judged. Those to learn from are of the dev part.
    """
    rng = np.random.default_rng([seed, len(table.goal)])
    if not table.within:
        groups = rng.permutation(table.group.max() + 1)
        learn = np.isin(table.group, groups[: round(SHARE * len(groups))])
        rows, apart = rng.permutation(np.flatnonzero(learn)), rng.permutation(np.flatnonzero(~learn))
        return rows[:MOST_ROWS], apart[:MOST_ROWS]
    dev = rng.permutation(np.unique(table.group[table.is_dev]))
    first, second = POOL_PROMPTS
    mine, rest = dev[:first], dev[first:]
    judged = rng.permutation(np.unique(table.group[~table.is_dev]) if part == "test" else rest)[:second]
    return rng.permutation(np.flatnonzero(np.isin(table.group, mine))), np.flatnonzero(np.isin(table.group, judged))
