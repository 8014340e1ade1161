"""Scores that were not observed, predicted from those that were: a prior from the graph plus a learned residual.

    s_hat_i = clip(prior_i + head(h_i), 0, 1),    head = 0 at the start
    prior_i = c_i f_i

f_i is the product of the node's prerequisite gates in this episode and c_i its competence so far, the least-squares slope of
observed scores on gates. Trained by hiding scores and predicting them (masked modelling, after GRAPE, arXiv 2010.16418).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.encoder import GraphEncoder
from rag_graph.reward.features import NodeFeatures
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.readout import gate_factors

HIDE = 0.3


class Imputer(nn.Module):
    """Masked-score model of one graph."""

    score_gate: Tensor
    gate_square: Tensor

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig) -> None:
        super().__init__()
        self.graph = tensors
        self.features = NodeFeatures(graph)
        self.encoder = GraphEncoder(tensors, NodeFeatures.size, config.hidden_size, config.num_layers, config.num_bases)
        self.head = nn.Linear(config.hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        size = len(tensors.nodes)
        # Sums for c_i = sum(s f) / sum(f^2); they start from one observation of 1/2.
        self.register_buffer("score_gate", torch.full((size,), 0.5))
        self.register_buffer("gate_square", torch.ones(size))

    @property
    def means(self) -> Tensor:
        """[N] competence c."""
        means: Tensor = self.score_gate / self.gate_square
        return means

    def prior(self, scores: Tensor, observed: Tensor) -> Tensor:
        """[B, N]; a missing prerequisite is taken at its competence."""
        filled = torch.where(observed, scores, self.means.expand_as(scores))
        return self.means * gate_factors(filled, self.graph)

    def forward(self, scores: Tensor, observed: Tensor, retrieved: Tensor, tasks: Tensor) -> Tensor:
        """Predicted scores [B, N] from what is observed; the value at an unobserved entry never matters."""
        hidden = self.encoder(self.features(scores, observed, retrieved, tasks), self.graph)
        residual = self.head(hidden).squeeze(-1)
        predicted: Tensor = (self.prior(scores, observed) + residual).clamp(0, 1)
        return predicted

    @torch.no_grad()
    def observe(self, scores: Tensor, observed: Tensor, horizon: float = 3000.0) -> None:
        """Move the competence by new observations; forgets beyond `horizon` of them."""
        filled = torch.where(observed, scores, self.means.expand_as(scores))
        factors = gate_factors(filled, self.graph)
        seen = torch.where(observed, scores, torch.zeros_like(scores))
        self.score_gate = self.score_gate + (seen * factors).sum(0)
        self.gate_square = self.gate_square + (factors**2 * observed).sum(0)
        keep = (horizon / self.gate_square).clamp(max=1)
        self.score_gate, self.gate_square = self.score_gate * keep, self.gate_square * keep

    def loss(
        self, scores: Tensor, observed: Tensor, retrieved: Tensor, tasks: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error on hidden scores: 30% of the observed ones at random, and the episode's goal always."""
        hidden = torch.rand(scores.shape, generator=generator) < HIDE
        hidden = observed & (hidden | nn.functional.one_hot(tasks, scores.shape[1]).bool())
        # The straight sum, not the clipped one: beyond the clip there would be no gradient back.
        shown = observed & ~hidden
        states = self.encoder(self.features(scores, shown, retrieved, tasks), self.graph)
        predicted = self.prior(scores, shown) + self.head(states).squeeze(-1)
        error = torch.where(
            hidden, predicted - torch.where(hidden, scores, torch.zeros_like(scores)), torch.zeros_like(predicted)
        )
        return error.square().sum() / hidden.sum().clamp(min=1)
