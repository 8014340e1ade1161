"""Ridge regression of each goal on the other scores: closed-form and linear, the baseline to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans

RIDGE = 1.0
"""The penalty, in observations."""


class RidgeImputer(Imputer):
    """Goals by ridge regression on the other scores in play, missing ones at their running mean; no graph. Refitted from scratch
    after every update: standardised columns, penalty of RIDGE observations, no penalty on the level."""

    coefficients: Tensor  # [N goals, N]
    level: Tensor  # [N goals]

    def __init__(self, tensors: GraphTensors) -> None:
        size = len(tensors.nodes)
        super().__init__(RunningMeans(size), size)
        self.register_buffer("goals", tensors.goal.nonzero().squeeze(-1), persistent=False)
        self.register_buffer("usable", ~tensors.reads_references, persistent=False)
        self.register_buffer("coefficients", torch.zeros(len(self.goals), size))
        self.register_buffer("level", torch.zeros(len(self.goals)))

    goals: Tensor
    usable: Tensor  # bool [N]: what may predict a hidden goal

    def residual(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None) -> Tensor:
        standard = self.base.standardise(shown)
        added = standard @ self.coefficients.T + self.level  # [B, goals]
        return torch.zeros_like(standard).index_add(-1, self.goals, added)[None]

    @torch.no_grad()
    def refit(self, scores: Scores) -> None:
        moved = self.base.standardise(scores)
        size = moved.shape[-1]
        mine = (scores.tasks[:, None] == self.goals) & scores.observed[:, self.goals]  # [B, goals]
        weight = mine.T.to(moved.dtype)
        count = weight.sum(1)
        others = (1 - torch.eye(size)[self.goals]) * self.usable  # a goal does not predict itself
        x = moved * others[:, None]  # [goals, B, N]
        y = moved[:, self.goals].T  # [goals, B]
        x_mean = (weight[..., None] * x).sum(1) / count.clamp(min=1)[:, None]
        y_mean = (weight * y).sum(1) / count.clamp(min=1)
        centred = (x - x_mean[:, None]) * weight[..., None]
        gram = centred.transpose(1, 2) @ centred
        ridge = RIDGE * torch.eye(size)
        moment = (centred * (y - y_mean[:, None])[..., None]).sum(1)
        self.coefficients = torch.linalg.solve(gram + ridge, moment[..., None])[..., 0]
        self.level = y_mean - (self.coefficients * x_mean).sum(1)
