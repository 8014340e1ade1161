"""Ridge regression of each goal on the other scores: closed-form and linear, the baseline to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""In observations; the best by leave-one-out is taken, for each goal by itself (Golub, Heath & Wahba 1979)."""


class RidgeImputer(Imputer):
    """Goals by ridge regression on the other scores in play, missing ones at their running mean. Refitted from scratch after every update:
    standardised columns, no penalty on the level. G goals.

    Args:
        to_equal: shrink towards equal weights with the signs of the file, of the size that fits best, and not towards 0.
    """

    coefficients: Tensor  # [G, N]
    level: Tensor  # [G]

    def __init__(self, tensors: GraphTensors, to_equal: bool = False) -> None:
        size = len(tensors.nodes)
        super().__init__(RunningMeans(size), size)
        goals = tensors.goal.nonzero().squeeze(-1)
        signs = tensors.signs_of_facts()
        usable = tensors.applies[goals] & ~tensors.reads_references
        usable[torch.arange(len(goals)), goals] = False  # a goal does not predict itself
        equal = torch.tensor([[signs.get((goal, node), 1.0) for node in range(size)] for goal in goals.tolist()])
        self.register_buffer("goals", goals, persistent=False)
        self.register_buffer("usable", usable, persistent=False)
        self.register_buffer("equal", equal * usable if to_equal else torch.zeros_like(equal), persistent=False)
        self.register_buffer("coefficients", torch.zeros(len(goals), size))
        self.register_buffer("level", torch.zeros(len(goals)))

    goals: Tensor
    usable: Tensor  # bool [G, N]: what may predict a hidden goal
    equal: Tensor  # [G, N] direction that is shrunk towards

    def residual(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None) -> Tensor:
        standard = self.base.standardise(shown)
        added = standard @ self.coefficients.T + self.level  # [B, G]
        return torch.zeros_like(standard).index_add(-1, self.goals, added)[None]

    @torch.no_grad()
    def refit(
        self,
        scores: Scores,
        graph: GraphTensors,
        sweeps: int = 1,
        fresh: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        moved = self.base.standardise(scores).double()
        mine = (scores.tasks[:, None] == self.goals) & scores.observed[:, self.goals]  # [B, G]
        weight = mine.T.to(moved.dtype)
        count = weight.sum(1).clamp(min=1)[:, None]
        x = moved * self.usable[:, None]  # [G, B, N]
        y = moved[:, self.goals].T  # [G, B]
        x_mean = (weight[..., None] * x).sum(1) / count
        y_mean = (weight * y).sum(1, keepdim=True) / count
        x, y = (x - x_mean[:, None]) * weight[..., None], (y - y_mean) * weight
        equal = self.equal.to(x.dtype)
        fitted = (x @ equal[..., None])[..., 0]
        size = ((fitted * y).sum(1) / fitted.square().sum(1).clamp(min=1e-9)).clamp(min=0)
        start = size[:, None] * equal
        values, vectors = torch.linalg.eigh(x.transpose(1, 2) @ x)
        rotated = x @ vectors  # [G, B, N]
        left = y - (x @ start[..., None])[..., 0]
        moment = (rotated * left[..., None]).sum(1)  # [G, N]
        scale = 1 / (values.clamp(min=0)[..., None] + torch.tensor(PENALTIES, dtype=x.dtype))  # [G, N, P]
        leverage = (rotated.square() @ scale + 1 / count[..., None]).clamp(max=0.99)  # [G, B, P]
        error = (left[..., None] - rotated @ (moment[..., None] * scale)) / (1 - leverage)
        loss = (error.square() * weight[..., None]).sum(1)  # [G, P]
        best = loss.argmin(-1)[:, None, None].expand(-1, scale.shape[1], 1)
        found = start + (vectors @ (moment * scale.gather(-1, best)[..., 0])[..., None])[..., 0]
        self.coefficients = found.to(self.coefficients.dtype)
        self.level = (y_mean[:, 0] - (found * x_mean).sum(1)).to(self.level.dtype)
