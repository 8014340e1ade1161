"""Running statistics of node scores: what they usually are, and how far they spread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rag_graph.reward.scores import Scores

SIGMA_FLOOR = 0.05
"""The least standard deviation that a score is divided by: a node that hardly varies must not be blown up."""
CLIP = 5.0
"""Bound of a z-score."""
HORIZON = 3000.0
"""Observations that running statistics remember."""


class RunningMoments(nn.Module):
    """Mean and standard deviation of each node over the observed entries so far; forgets beyond HORIZON observations.

    Starts from the prior of a uniform score (mean 1/2, variance 1/12) with the weight of one observation. Only `update`
    changes it: reading a reward never does.
    """

    mean: Tensor  # [N]
    variance: Tensor  # [N]
    count: Tensor  # [N]

    def __init__(self, num_nodes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((num_nodes,), 0.5))
        self.register_buffer("variance", torch.full((num_nodes,), 1 / 12))
        self.register_buffer("count", torch.ones(num_nodes))

    def update(self, values: Tensor, observed: Tensor) -> None:
        """values [B, N]; only True entries of observed [B, N] count (Chan et al. 1979, parallel update)."""
        values = torch.where(observed, values, 0.0)
        new = observed.sum(0).to(values.dtype)
        safe = new.clamp(min=1)
        mean = values.sum(0) / safe
        variance = (torch.where(observed, values - mean, 0.0) ** 2).sum(0) / safe
        total = self.count + new
        shift = mean - self.mean
        self.variance = (self.count * self.variance + new * variance + self.count * new / total * shift**2) / total
        self.mean = self.mean + shift * new / total
        self.count = total.clamp(max=HORIZON)

    def standardise(self, values: Tensor) -> Tensor:
        """z-scores [B, N], bounded."""
        return ((values - self.mean) / self.variance.sqrt().clamp(min=SIGMA_FLOOR)).clamp(-CLIP, CLIP)


class RunningScale(nn.Module):
    """The standard deviation of a reward within a task and an update, one number for all tasks: dividing by it makes one `kl_coef` mean the same for
    every readout and changes no preference between answers, of one task or of several. What all answers gain from update to update is no
    deviation. Forgets beyond HORIZON episodes.

    Args:
        variance: to start from, with the weight of one episode; default that of a uniform score.
    """

    variance: Tensor  # []
    weight: Tensor  # []

    def __init__(self, variance: float = 1 / 12) -> None:
        super().__init__()
        self.register_buffer("variance", torch.tensor(variance))
        self.register_buffer("weight", torch.ones(()))

    @property
    def deviation(self) -> Tensor:
        """[], at least SIGMA_FLOOR."""
        return self.variance.clamp(min=SIGMA_FLOOR**2).sqrt()

    def update(self, rewards: Tensor, tasks: Tensor, counts: Tensor, num_nodes: int) -> None:
        """rewards [B] in score units; tasks int64 [B], below num_nodes; only True entries of counts [B] count."""
        seen, none = counts.to(rewards.dtype), torch.zeros(num_nodes, dtype=rewards.dtype)
        rewards = torch.where(counts, rewards, 0.0)
        number = none.index_add(0, tasks, seen)
        mean = none.index_add(0, tasks, rewards) / number.clamp(min=1)
        within = torch.where(counts, rewards - mean[tasks], 0.0).square().sum()
        freedom = (number - 1).clamp(min=0).sum()
        weight = self.weight + freedom
        self.variance = (self.weight * self.variance + within) / weight
        self.weight = weight.clamp(max=HORIZON)


class RunningMeans(nn.Module):
    """The simplest imputer, and the base of the others: a missing score is the node's running mean.

    Forgets beyond HORIZON observations; starts from the weight of one observation of a uniform score.
    """

    total: Tensor
    square: Tensor
    weight: Tensor

    def __init__(self, num_nodes: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.full((num_nodes,), 0.5))
        self.register_buffer("square", torch.full((num_nodes,), 1 / 3))
        self.register_buffer("weight", torch.ones(num_nodes))

    @property
    def means(self) -> Tensor:
        """[N]."""
        return self.total / self.weight

    @property
    def deviations(self) -> Tensor:
        """[N], at least SIGMA_FLOOR."""
        return (self.square / self.weight - self.means**2).clamp(min=SIGMA_FLOOR**2).sqrt()

    def standardise(self, scores: Scores) -> Tensor:
        """[B, N] observed scores in standard deviations from their running mean; 0 where unobserved."""
        return torch.where(scores.observed, (scores.values - self.means) / self.deviations, 0.0)

    def forward(self, scores: Scores) -> Tensor:
        """Predictions [B, N]."""
        return self.means.expand_as(scores.values)

    def observe(self, scores: Scores, weights: Tensor | None = None) -> None:
        """Move the statistics by new observations. weights: [B, N] how much each counts (`batch.weights_of`); None: all alike."""
        seen = scores.observed.to(self.weight.dtype)
        counts = 1.0 if weights is None else weights
        seen = (seen * counts).sum(0)
        total, square = self.total + (scores.filled * counts).sum(0), self.square + (scores.filled**2 * counts).sum(0)
        weight = self.weight + seen
        keep = (HORIZON / weight).clamp(max=1)
        self.total, self.square, self.weight = total * keep, square * keep, weight * keep

    def penalty(self) -> Tensor:
        """The pull towards the prior, added to the loss."""
        return torch.zeros(())

    def project(self) -> None:
        """Bring parameters back into their range after an optimizer step."""
