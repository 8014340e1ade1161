"""Goals from one number that the other scores give without any fit, such as their product; only its scale is fitted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.imputers.gaussian import CriteriaGaussian
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans

SOFTNESS = 8.0
Direction = Callable[[Tensor, Tensor], Tensor]
"""([B, k] scores in [0, 1], bool [B, k] those that count) -> [B]."""


def product(scores: Tensor, counts: Tensor) -> Tensor:
    return torch.where(counts, scores, 1.0).prod(-1)


def soft_minimum(scores: Tensor, counts: Tensor) -> Tensor:
    """-log mean exp(-SOFTNESS s) / SOFTNESS"""
    mean = torch.where(counts, (-SOFTNESS * scores).exp(), 0.0).sum(-1) / counts.sum(-1).clamp(min=1)
    return torch.where(counts.any(-1), -mean.clamp(min=1e-9).log() / SOFTNESS, 0.0)


class OneDirection(Imputer):
    """goal = a + b d(scores), b >= 0 by least squares on the goals that were seen, both held by two made-up observations d = y. d takes the
    nodes that bound the task or are its prerequisite; all criteria in play where the file states none. Those that speak for a low goal count turned round.

    Args:
        fill: gaps are filled in by `CriteriaGaussian`, not by the running mean.
    """

    moments: Tensor  # [T, 5] count, sum of d, of y, of d^2, of d y

    def __init__(self, tensors: GraphTensors, direction: Direction, fill: bool = False) -> None:
        size = len(tensors.nodes)
        super().__init__(RunningMeans(size), size)
        self.criteria, self.direction, self.fill = CriteriaGaussian(tensors), direction, fill
        named = set()
        for meaning in ("bound", "gate"):
            _, source, target = tensors.ends(meaning)  # type: ignore[arg-type]
            named |= set(zip(target.tolist(), source.tolist(), strict=True))
        counts = self.criteria.valid.clone()
        for row, task in enumerate(self.criteria.tasks.tolist()):
            mine = torch.tensor([(task, column) in named for column in self.criteria.columns[row].tolist()])
            if (mine & counts[row]).any():
                counts[row] &= mine
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("moments", torch.zeros(len(self.criteria.tasks), 5))

    counts: Tensor  # bool [T, k]

    def _expected(self, shown: Scores) -> Tensor:
        """[B] d."""
        z, observed = self.criteria.standard(shown, self.base)
        filled = self.criteria.fill(z, observed, shown.tasks) if self.fill else z
        raw, slot = self.criteria.raw(filled, shown.tasks, self.base), self.criteria.slot[shown.tasks]
        return self.direction(torch.where(self.criteria.sign[slot] < 0, 1 - raw, raw), self.counts[slot])

    def forward(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None = None) -> Tensor:
        count, d, y, dd, dy = (self.moments + torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0])).unbind(-1)  # and (0, 0), (1, 1)
        slope = ((dy - d * y / count) / (dd - d * d / count).clamp(min=1e-6)).clamp(min=0)
        slot = self.criteria.slot[shown.tasks]
        goal = (y / count)[slot] + slope[slot] * (self._expected(shown) - (d / count)[slot])
        return torch.where(shown.is_task, goal[:, None], self.base(shown))[None]

    @torch.no_grad()
    def refit(
        self,
        scores: Scores,
        graph: GraphTensors,
        sweeps: int = 1,
        fresh: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        if self.fill:
            self.criteria.refit(scores, self.base, sweeps)
        d = self._expected(scores)
        y, seen = (part.gather(-1, scores.tasks[:, None])[:, 0] for part in (scores.filled, scores.observed))
        rows = torch.stack([torch.ones_like(d), d, y, d * d, d * y], -1) * seen[:, None]
        self.moments = torch.zeros_like(self.moments).index_add(0, self.criteria.slot[scores.tasks], rows)
