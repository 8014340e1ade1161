"""The graph encoder: relational message passing in which an edge's strength multiplies its message.

    h'_i = LayerNorm(h_i + ReLU(W_0 h_i + sum_r 1/|N_r(i)| sum_{j in N_r(i)} g_ji W_r h_j))

after Schlichtkrull et al. 2018 (arXiv 1703.06103, eq. 2 and 3), with W_r from a basis and every relation also inverted. The
mean divides by the number of live edges (g > 0), not by the sum of strengths, or g would not be identifiable. Stock layers do
not fit: RGCN takes no edge weight, attention cancels a common scale, GINE does not vanish at g = 0.

Two forms give the same numbers: static, one topology for all episodes, x [B, N, H]; and joined, where each episode's own
retrieved context nodes are linked to its task by `retrieved` edges, and all episodes are one graph of many parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from rag_graph.reward.graph_tensors import GraphTensors

DENSE_UP_TO = 48
"""Nodes up to which a dense matrix of the graph is faster than a sparse one."""


class Contexts(NamedTuple):
    """M context nodes retrieved for the episodes of a batch."""

    text: Tensor  # [M, text size] embeddings
    episode: Tensor  # int64 [M], row of the batch
    score: Tensor  # [M] retrieval score in [0, 1], the strength of the edge to the episode's task


class RelationalConv(MessagePassing):  # type: ignore[misc]
    """One layer: x [..., N, H] -> [..., N, H].

    Args:
        channels: H.
        num_relations: relation types, inverses counted.
        num_bases: matrices that every relation's matrix is mixed from.
    """

    def __init__(self, channels: int, num_relations: int, num_bases: int) -> None:
        super().__init__(aggr="add", node_dim=-2)
        self.bases = nn.Parameter(torch.empty(num_bases, channels, channels))
        self.mix = nn.Parameter(torch.empty(num_relations, num_bases))
        self.own = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        nn.init.xavier_uniform_(self.bases)
        nn.init.xavier_uniform_(self.mix)

    def forward(self, x: Tensor, edge_index: Tensor, relation: Tensor, strength: Tensor) -> Tensor:
        """
        Args:
            x: [..., N, H].
            edge_index: int64 [2, E], sources above targets; relation: int64 [E]; strength: [E] in [0, 1].
        """
        size = x.shape[-2]
        slot = relation * size + edge_index[1]  # one counter per (relation, target)
        live = (strength > 0).to(x.dtype)
        counts = torch.zeros(self.mix.shape[0] * size, dtype=x.dtype, device=x.device).index_add(0, slot, live)
        coefficients = self.mix[relation] * (strength / counts[slot].clamp(min=1))[:, None]  # [E, bases]
        if self.fuse and not self.explain:
            passed = self.message_and_aggregate(edge_index, x, coefficients)
        else:
            passed = self.propagate(edge_index, x=x, coefficients=coefficients, size=(size, size))
        result: Tensor = self.norm(x + torch.relu(self.own(x) + passed))
        return result

    def message(self, x_j: Tensor, coefficients: Tensor) -> Tensor:
        """x_j [..., E, H] -> messages [..., E, H]: what explainers of PyG look at."""
        by_basis = torch.einsum("...eh,khc->...ekc", x_j, self.bases)
        return torch.einsum("...ekc,ek->...ec", by_basis, coefficients)

    def message_and_aggregate(self, edge_index: Tensor, x: Tensor, coefficients: Tensor) -> Tensor:
        """The sum of all messages at once: by every basis, then by the matrix [N, bases * N] of coefficients."""
        size, num_bases = x.shape[-2], coefficients.shape[-1]
        flat = x.movedim(-2, 0).reshape(-1, x.shape[-1])  # [N * ..., H]
        by_basis = (flat @ self.bases).reshape(num_bases * size, -1)  # [bases * N, ... * H]
        source, target = edge_index
        if size <= DENSE_UP_TO:
            dense = torch.zeros(size * size, num_bases, dtype=x.dtype, device=x.device)
            added = dense.index_add(0, target * size + source, coefficients).view(size, size, num_bases)
            summed = added.transpose(1, 2).reshape(size, num_bases * size) @ by_basis
        else:
            columns = torch.arange(num_bases, device=x.device)[:, None] * size + source
            places = torch.stack([target.repeat(num_bases), columns.flatten()])
            shape = (size, num_bases * size)
            sparse = torch.sparse_coo_tensor(places, coefficients.T.flatten(), shape, check_invariants=False)
            summed = torch.sparse.mm(sparse.coalesce(), by_basis)
        passed: Tensor = summed.reshape(size, *x.shape[:-2], x.shape[-1]).movedim(0, -2)
        return passed


class GraphEncoder(nn.Module):
    """Node features [B, N, F] -> node states [B, N, H]."""

    def __init__(
        self, graph: GraphTensors, num_features: int, hidden_size: int, num_layers: int, num_bases: int
    ) -> None:
        super().__init__()
        self.input = nn.Linear(num_features, hidden_size)
        self.num_relations = graph.num_relations + 1  # and last: retrieved
        layers = [RelationalConv(hidden_size, 2 * self.num_relations, num_bases) for _ in range(num_layers)]
        self.layers = nn.ModuleList(layers)

    def forward(self, features: Tensor, graph: GraphTensors) -> Tensor:
        """The static form."""
        return self._pass(features, graph.edge_index, graph.relation, graph.strength)

    def joined(
        self, features: Tensor, graph: GraphTensors, of_contexts: Tensor, contexts: Contexts, tasks: Tensor
    ) -> Tensor:
        """The per-episode form.

        Args:
            features: [B, N, F]; of_contexts: [M, F]; tasks: int64 [B], node position of each episode's task.

        Returns:
            [B, N, H] states of the graph's own nodes.
        """
        batch, size = features.shape[:2]
        edges, offset = graph.edge_index.shape[1], size * torch.arange(batch, device=features.device)
        own = (graph.edge_index[:, None] + offset[:, None]).flatten(1)  # [2, B * E]
        place = batch * size + torch.arange(len(contexts.episode), device=features.device)
        retrieved = torch.stack([place, (offset + tasks)[contexts.episode]])
        edge_index = torch.cat([own, retrieved], 1)
        relation = torch.cat([graph.relation.repeat(batch), torch.full_like(place, self.num_relations - 1)])
        strength = torch.cat([graph.strength.expand(batch, edges).flatten(), contexts.score.to(features.dtype)])
        hidden = self._pass(torch.cat([features.flatten(0, 1), of_contexts]), edge_index, relation, strength)
        states: Tensor = hidden[: batch * size].unflatten(0, (batch, size))
        return states

    def _pass(self, features: Tensor, edge_index: Tensor, relation: Tensor, strength: Tensor) -> Tensor:
        both = torch.cat([edge_index, edge_index.flip(0)], 1)
        relations, strengths = torch.cat([relation, relation + self.num_relations]), torch.cat([strength, strength])
        hidden: Tensor = torch.relu(self.input(features))
        for layer in self.layers:
            hidden = layer(hidden, both, relations, strengths)
        return hidden
