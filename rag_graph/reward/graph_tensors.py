"""The auxiliary graph as tensors, split by what an edge means. Shapes: N nodes, E edges, R relation types."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rag_graph.errors import ConfigError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.spec import Semantics


@dataclass(frozen=True, slots=True)
class GraphTensors:
    """
    edge_index: int64 [2, E]; relation: int64 [E]; strength: float [E], the only part that may carry a gradient.
    goal: [N] goal weight, 0 for what is no goal task.
    applies: bool [N, N], row = task: nodes that can be scored in an episode of that task.
    gate_order: node positions, prerequisites first.
    """

    nodes: tuple[str, ...]
    num_relations: int
    edge_index: Tensor
    relation: Tensor
    strength: Tensor
    semantics: tuple[Semantics, ...]
    goal: Tensor
    applies: Tensor
    gate_order: tuple[int, ...]

    @classmethod
    def of(cls, graph: AuxiliaryGraph) -> GraphTensors:
        types = list(graph.relation_types.values())
        goals = [graph.spec.tasks[name].goal if name in graph.spec.tasks else 0.0 for name in graph.nodes]
        applies = [
            [name in graph.spec.tasks and graph.applies(node, name) for node in graph.nodes] for name in graph.nodes
        ]
        return cls(
            graph.nodes,
            len(types),
            torch.from_numpy(graph.edge_index),
            torch.from_numpy(graph.relation),
            torch.from_numpy(graph.strength),
            tuple(types[r].semantics for r in graph.relation),
            torch.tensor(goals, dtype=torch.float32),
            torch.tensor(applies, dtype=torch.bool),
            tuple(graph.gate_order()),
        )

    def edges(self, *semantics: Semantics) -> list[tuple[int, int, int]]:
        """(edge, source, target) of the edges with one of these meanings, in file order."""
        pairs = self.edge_index.T.tolist()
        return [(e, *pairs[e]) for e, meaning in enumerate(self.semantics) if meaning in semantics]

    def matrix(self, semantics: Semantics) -> Tensor:
        """[N, N] strengths of the edges of one meaning, row = source, column = target; parallel edges add up."""
        size = len(self.nodes)
        chosen = [e for e, _, _ in self.edges(semantics)]
        if not chosen:
            return torch.zeros(size, size)
        source, target = self.edge_index[:, chosen]
        return torch.zeros(size * size).index_add(0, source * size + target, self.strength[chosen]).view(size, size)


def katz_credit(weights: Tensor, supports: Tensor, damping: float) -> Tensor:
    """Credit a = (I - damping A)^-1 w (Katz 1953): what a node earns by itself and, through `supports`, for what it helps.

    Args:
        weights: [B, N] credit a node has by itself.
        supports: [N, N] strengths, row = source.
        damping: beta; beta times the spectral radius of `supports` must be below 1, or the sum over paths diverges.

    Returns:
        [B, N].

    Raises:
        ConfigError: it is not.
    """
    radius = float(torch.linalg.eigvals(supports.detach().double()).abs().max()) if supports.numel() else 0.0
    if damping * radius >= 1:
        raise ConfigError(
            f"reward.damping {damping:g} times the spectral radius {radius:.3g} of the `supports` edges is not below 1: credit would grow without end. "
            f"Set reward.damping below {1 / radius:.3g}, or weaken a cycle of supports."
        )
    identity = torch.eye(len(supports))
    solved: Tensor = torch.linalg.solve(identity - damping * supports, weights.T)
    return solved.T
