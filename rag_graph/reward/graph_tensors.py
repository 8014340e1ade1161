"""The auxiliary graph as tensors, split by what an edge means. Shapes: B episodes, N nodes, E edges, R relation types.

Everything here costs O(B E): no N x N matrix is multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import networkx
import numpy as np
import torch
from torch import Tensor

from rag_graph.errors import ConfigError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.spec import ROLES, Semantics

MEANINGS: tuple[Semantics, ...] = tuple(ROLES)
FACT_SIGNS: dict[Semantics, float] = {"bound": 1.0, "indication": 1.0, "counterindication": -1.0}
"""What a high source of a fact says of its target."""
RULE_SIGNS: dict[Semantics, float] = {"gate": 1.0, "credit": 1.0, "aggregate": 1.0, "penalty": -1.0}
"""What more of the source of a rule does to what an answer is worth."""
SIGNS: dict[Semantics, float] = FACT_SIGNS | RULE_SIGNS
SMALLEST = 1e-7
"""What is left of a credit when its path is cut."""


class GateLevel(NamedTuple):
    """Gated nodes whose prerequisites are all on earlier levels. n nodes, at most k prerequisites each."""

    edges: Tensor  # int64 [n, k], 0 where there are fewer
    sources: Tensor  # int64 [n, k]
    valid: Tensor  # bool [n, k]
    slot: Tensor  # int64 [N]: row of a node on this level, n for all others


@dataclass(frozen=True, slots=True)
class GraphTensors:
    """
    edge_index: int64 [2, E]; relation: int64 [E]; strength: float [E], the only part that may carry a gradient.
    of_meaning: meaning -> positions of its edges, int64.
    goal: [N] goal weight, 0 for what is no goal task.
    reads_references: bool [N], criteria that compare with the reference: they give a hidden goal away, and are hidden with it.
    applies: bool [N, N], row = task: nodes that can be scored in an episode of that task.
    gate_levels: gated nodes, prerequisites first.
    """

    nodes: tuple[str, ...]
    num_relations: int
    edge_index: Tensor
    relation: Tensor
    strength: Tensor
    of_meaning: Mapping[Semantics, Tensor]
    goal: Tensor
    reads_references: Tensor
    applies: Tensor
    gate_levels: tuple[GateLevel, ...]
    absent: Tensor | None = None
    """bool [B, N], of one batch: nodes that apply to the task and are still no part of the episode's graph (`Scores.absent`)."""

    def in_play(self, tasks: Tensor) -> Tensor:
        """bool [B, N]: nodes that bear on each episode. tasks: int64 [B], node position of each episode's task."""
        applies = self.applies[tasks]
        return applies if self.absent is None else applies & ~self.absent

    @classmethod
    def of(cls, graph: AuxiliaryGraph, readers: Collection[str] = ()) -> GraphTensors:
        """readers: criteria whose own functions read the reference, beside those whose metric does."""
        names, tasks, criteria = graph.nodes, graph.spec.tasks, graph.spec.criteria
        goals = [tasks[name].goal if name in tasks else 0.0 for name in names]
        applies = np.zeros((len(names), len(names)), dtype=bool)
        everywhere = [graph.index[name] for name, criterion in criteria.items() if not criterion.applies_to]
        for task in tasks:
            applies[graph.index[task], [graph.index[task], *everywhere]] = True
        for name, criterion in criteria.items():
            applies[[graph.index[task] for task in criterion.applies_to if task in tasks], graph.index[name]] = True
        edge_index = torch.from_numpy(graph.edge_index)
        of_meaning = {meaning: torch.from_numpy(graph.edges_of(meaning)) for meaning in MEANINGS}
        return cls(
            names,
            len(graph.relation_types),
            edge_index,
            torch.from_numpy(graph.relation),
            torch.from_numpy(graph.strength),
            of_meaning,
            torch.tensor(goals, dtype=torch.float32),
            torch.tensor([name in criteria and (criteria[name].reads_reference or name in readers) for name in names]),
            torch.from_numpy(applies),
            _gate_levels(len(names), graph.gate_order(), of_meaning["gate"], edge_index),
        )

    def ends(self, meaning: Semantics) -> tuple[Tensor, Tensor, Tensor]:
        """(positions, sources, targets) of the edges of one meaning, each int64."""
        chosen = self.of_meaning[meaning]
        source, target = self.edge_index[:, chosen]
        return chosen, source, target

    def facts(self) -> list[tuple[int, int, int, float]]:
        """(position, source, target, sign) of every fact: +1 where a high source speaks for a high target, -1 where it speaks against one."""
        found = []
        for meaning, sign in FACT_SIGNS.items():
            edges, source, target = (part.tolist() for part in self.ends(meaning))
            found += [(e, j, i, sign) for e, j, i in zip(edges, source, target, strict=True)]
        return found

    def signs_of_facts(self) -> dict[tuple[int, int], float]:
        """(target, source) -> sign of the facts between them."""
        return {(target, source): sign for _, source, target, sign in self.facts()}

    def criteria_of_goals(self, graph: AuxiliaryGraph, known: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """(criterion, goal task) of every pair in whose episodes the criterion is scored, without the known ones."""
        is_criterion = torch.tensor([kind == "criterion" for kind in graph.kinds.values()])
        pairs = (self.applies & (self.goal > 0)[:, None] & is_criterion).nonzero().tolist()
        excluded = set(known)
        return [(j, i) for i, j in pairs if (j, i) not in excluded]

    def pull(self, values: Tensor, meaning: Semantics, weight: Tensor | None = None) -> Tensor:
        """[B, N]: each source's sum of weight * values[target] over its edges of one meaning; weight [E], default the strength."""
        chosen, source, target = self.ends(meaning)
        weighted = values[..., target] * (self.strength if weight is None else weight)[chosen]
        return torch.zeros_like(values).index_add(-1, source, weighted)

    def push(self, values: Tensor, meaning: Semantics, weight: Tensor | None = None) -> Tensor:
        """[B, N]: each target's sum of weight * values[source] over its edges of one meaning; weight [E], default the strength."""
        chosen, source, target = self.ends(meaning)
        weighted = values[..., source] * (self.strength if weight is None else weight)[chosen]
        return torch.zeros_like(values).index_add(-1, target, weighted)


def _gate_levels(size: int, order: list[int], gates: Tensor, edge_index: Tensor) -> tuple[GateLevel, ...]:
    incoming: dict[int, list[tuple[int, int]]] = {}
    for edge, (source, target) in zip(gates.tolist(), edge_index[:, gates].T.tolist(), strict=True):
        incoming.setdefault(target, []).append((edge, source))
    depth = dict.fromkeys(range(size), 0)
    levels: dict[int, list[int]] = {}
    for node in order:
        if node in incoming:
            depth[node] = 1 + max(depth[source] for _, source in incoming[node])
            levels.setdefault(depth[node], []).append(node)
    made = []
    for _, nodes in sorted(levels.items()):
        width = max(len(incoming[node]) for node in nodes)
        padded = [incoming[node] + [(0, 0)] * (width - len(incoming[node])) for node in nodes]
        valid = [[k < len(incoming[node]) for k in range(width)] for node in nodes]
        pairs = torch.tensor(padded, dtype=torch.long)
        slot = torch.full((size,), len(nodes), dtype=torch.long)
        slot[nodes] = torch.arange(len(nodes))
        made.append(GateLevel(pairs[..., 0], pairs[..., 1], torch.tensor(valid), slot))
    return tuple(made)


def spectral_radius(graph: GraphTensors, meaning: Semantics = "credit") -> float:
    """Of the matrix of strengths of one meaning. Only cycles count: it is found component by component."""
    chosen, source, target = graph.ends(meaning)
    strengths = networkx.DiGraph()
    for e, j, i in zip(chosen.tolist(), source.tolist(), target.tolist(), strict=True):
        before = strengths.get_edge_data(j, i, {"weight": 0.0})["weight"]
        strengths.add_edge(j, i, weight=before + float(graph.strength[e]))
    cycles = [part for part in networkx.strongly_connected_components(strengths) if len(part) > 1]
    cycles += [{node} for node in networkx.nodes_with_selfloops(strengths)]
    matrices = [networkx.to_numpy_array(strengths.subgraph(part)) for part in cycles]
    return max((float(np.abs(np.linalg.eigvals(matrix)).max()) for matrix in matrices), default=0.0)


def check_damping(graph: GraphTensors, damping: float) -> None:
    """
    Raises:
        ConfigError: `damping` times the spectral radius of `supports` is not below 1: the sum over paths diverges.
    """
    radius = spectral_radius(graph)
    if damping * radius >= 1:
        raise ConfigError(
            f"reward.damping {damping:g} times the spectral radius {radius:.3g} of the `supports` edges is not below 1: credit would grow without end. "
            f"Set reward.damping below {1 / radius:.3g}, or weaken a cycle of supports."
        )


def longest_path(graph: GraphTensors, damping: float, least_rate: float = 0.0) -> int:
    """Supports to follow until nothing above SMALLEST of the credit is left: the longest path of a DAG; on a cycle what the rate
    damping * spectral radius needs.

    Args:
        least_rate: a rate that learned strengths may reach; used where there is a cycle.
    """
    _, source, target = graph.ends("credit")
    edges = networkx.DiGraph(list(zip(source.tolist(), target.tolist(), strict=True)))
    if networkx.is_directed_acyclic_graph(edges):
        return int(networkx.dag_longest_path_length(edges, weight=None))
    rate = max(least_rate, damping * spectral_radius(graph))
    if not 0 < rate < 1:
        return len(edges)
    return len(edges) + math.ceil(math.log(SMALLEST) / math.log(rate))


def katz_credit(
    weights: Tensor, graph: GraphTensors, damping: float, opened: Tensor | None = None, steps: int | None = None
) -> Tensor:
    """Credit a = (I - damping A)^-1 w (Katz 1953): what a node earns by itself and, through `supports`, for what it helps.

    Args:
        weights: [B, N] credit a node has by itself.
        damping: beta, checked by `check_damping`.
        opened: [B, N] in [0, 1]: how far a node lets credit through to its supporters, a -> (I - damping A diag(opened))^-1 w. None: 1.
        steps: relations to follow; default `longest_path`.

    Returns:
        [B, N].
    """
    total = frontier = weights
    for _ in range(longest_path(graph, damping) if steps is None else steps):
        frontier = damping * graph.pull(frontier if opened is None else frontier * opened, "credit")
        total = total + frontier
    return total
