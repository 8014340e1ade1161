"""The graph encoder: relational message passing in which an edge's strength multiplies its message.

    h'_i = LayerNorm(h_i + ReLU(W_0 h_i + sum_r 1/|N_r(i)| sum_{j in N_r(i)} g_ji W_r h_j))

after Schlichtkrull et al. 2018 (arXiv 1703.06103, eq. 2 and 3), with W_r from a basis and every relation also inverted. The
mean divides by the number of live edges (g > 0), not by the sum of strengths, or g would not be identifiable. Stock layers do
not fit: RGCN takes no edge weight, attention cancels a common scale, GINE does not vanish at g = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from rag_graph.reward.graph_tensors import GraphTensors


class RelationalConv(MessagePassing):  # type: ignore[misc]
    """One layer on a static topology: x [B, N, H] -> [B, N, H].

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
            x: [B, N, H].
            edge_index: int64 [2, E], sources above targets; relation: int64 [E]; strength: [E] in [0, 1].
        """
        size = x.shape[-2]
        slot = relation * size + edge_index[1]  # one counter per (relation, target)
        live = (strength > 0).to(x.dtype)
        counts = torch.zeros(self.mix.shape[0] * size, dtype=x.dtype, device=x.device).index_add(0, slot, live)
        weight = strength / counts[slot].clamp(min=1)
        mixed = torch.einsum("bnh,khc->bnkc", x, self.bases).flatten(-2)  # [B, N, bases * H]
        passed = self.propagate(edge_index, x=mixed, weight=weight, coefficients=self.mix[relation], size=(size, size))
        result: Tensor = self.norm(x + torch.relu(self.own(x) + passed))
        return result

    def message(self, x_j: Tensor, weight: Tensor, coefficients: Tensor) -> Tensor:
        """x_j [B, E, bases * H] -> messages [B, E, H]."""
        by_basis = x_j.unflatten(-1, (coefficients.shape[-1], -1))
        return torch.einsum("bekc,ek->bec", by_basis, coefficients) * weight[:, None]


class GraphEncoder(nn.Module):
    """Node features [B, N, F] -> node states [B, N, H]."""

    def __init__(
        self, graph: GraphTensors, num_features: int, hidden_size: int, num_layers: int, num_bases: int
    ) -> None:
        super().__init__()
        self.input = nn.Linear(num_features, hidden_size)
        layers = [RelationalConv(hidden_size, 2 * graph.num_relations, num_bases) for _ in range(num_layers)]
        self.layers = nn.ModuleList(layers)
        self.num_relations = graph.num_relations

    def forward(self, features: Tensor, graph: GraphTensors) -> Tensor:
        edge_index = torch.cat([graph.edge_index, graph.edge_index.flip(0)], 1)
        relation = torch.cat([graph.relation, graph.relation + self.num_relations])
        strength = torch.cat([graph.strength, graph.strength])
        hidden = torch.relu(self.input(features))
        for layer in self.layers:
            hidden = layer(hidden, edge_index, relation, strength)
        return hidden
