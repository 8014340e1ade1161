"""Gradient boosting of each goal on the other scores (Friedman 2001), by scikit-learn: what tabular practice would try."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans

LEAST = 10
"""Goals below which the running mean is the prediction."""


class BoostingImputer(Imputer):
    """Goals by boosted trees; a missing score is a value of its own. Refitted from scratch after every update, and after a checkpoint was loaded."""

    in_state = False

    def __init__(self, tensors: GraphTensors) -> None:
        size = len(tensors.nodes)
        super().__init__(RunningMeans(size), size)
        self.usable = tensors.applies & ~tensors.reads_references & ~torch.eye(size, dtype=torch.bool)
        self.trees: dict[int, tuple[Tensor, Any]] = {}

    def forward(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None = None) -> Tensor:
        predicted: Tensor = self.base(shown).clone()
        values = torch.where(shown.observed, shown.values, torch.nan)
        for goal, (columns, trees) in self.trees.items():
            rows = (shown.tasks == goal).nonzero().squeeze(-1)
            if len(rows):
                found = trees.predict(values[rows][:, columns].detach().numpy())
                predicted[rows, goal] = torch.as_tensor(found, dtype=predicted.dtype)
        result: Tensor = predicted[None]
        return result

    def forget(self) -> None:
        self.trees.clear()

    @torch.no_grad()
    def refit(
        self,
        scores: Scores,
        graph: GraphTensors,
        sweeps: int = 1,
        fresh: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        values = torch.where(scores.observed, scores.values, torch.nan)
        for goal in graph.goal.nonzero().squeeze(-1).tolist():
            mine = (scores.tasks == goal) & scores.observed[:, goal]
            self.trees.pop(goal, None)
            count = int(mine.sum())
            if count < LEAST:
                continue
            columns = (self.usable[goal] & (values[mine].nan_to_num(0.0).std(0) > 0)).nonzero().squeeze(-1)
            columns = columns[(~values[mine][:, columns].isnan()).any(0)]
            if not len(columns):
                continue
            trees = HistGradientBoostingRegressor(
                max_iter=60, max_leaf_nodes=4, min_samples_leaf=max(2, count // 10), l2_regularization=1.0, random_state=0
            )  # fmt: skip
            self.trees[goal] = columns, trees.fit(values[mine][:, columns].numpy(), values[mine, goal].numpy())
