"""What is known of a batch of episodes, as tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ABSENT = -1.0
"""At an unobserved entry of `Scores.values`: there is nothing to observe and nothing to predict, as for a rubric in an episode without items."""


class Scores(NamedTuple):
    """B episodes, N nodes. A missing score is masked, never zero: what stands at an unobserved entry of `values` is never read, but ABSENT says that
    the node is no part of the episode's graph."""

    values: Tensor  # [B, N] scores in [0, 1]
    observed: Tensor  # bool [B, N]
    retrieved: Tensor  # [B, N] retrieval weight of the graph's context nodes, 0 for the rest
    tasks: Tensor  # int64 [B], node position of each episode's task

    @property
    def is_task(self) -> Tensor:
        """bool [B, N], True at the episode's own task."""
        return task_mask(self.tasks, self.values.shape[-1])

    @property
    def absent(self) -> Tensor:
        """bool [B, N], True where a node is no part of the episode's graph although it applies to its task."""
        return ~self.observed & (self.values == ABSENT)

    @property
    def filled(self) -> Tensor:
        """[B, N] the values, 0 where unobserved."""
        return torch.where(self.observed, self.values, 0.0)

    def without(self, hide: Tensor) -> Scores:
        """Fewer scores; hide: bool [B, N]."""
        return self._replace(observed=self.observed & ~hide)

    def without_goal(self, reads_references: Tensor) -> Scores:
        """Without each episode's goal, and what gives it away: reads_references, bool [N]."""
        return self.without(self.is_task | reads_references)


def task_mask(tasks: Tensor, num_nodes: int) -> Tensor:
    """bool [B, N] from node positions [B]."""
    return tasks[..., None] == torch.arange(num_nodes, device=tasks.device)
