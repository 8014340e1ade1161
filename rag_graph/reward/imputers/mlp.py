"""A network over all scores that knows no graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans

MLP_SIZE = 64
"""Width of its two hidden layers."""


class MlpImputer(Imputer):
    """Running mean plus a network over all scores, masks and the task; no graph."""

    def __init__(self, tensors: GraphTensors) -> None:
        size = len(tensors.nodes)
        super().__init__(RunningMeans(size), size)
        last = nn.Linear(MLP_SIZE, size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(3 * size, MLP_SIZE), nn.ReLU(), nn.Linear(MLP_SIZE, MLP_SIZE), nn.ReLU(), last
        )

    def residual(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None) -> Tensor:
        given = [
            self.base.standardise(shown),
            shown.observed.to(shown.values.dtype),
            shown.is_task.to(shown.values.dtype),
        ]
        added: Tensor = self.network(torch.cat(given, -1))
        return added[None]
