"""Scores that were not observed, predicted from those that were.

    s_hat_i = clip(base_i + sigma_i residual_i)

base is the running mean of the node, or what the graph predicts (`prior.py`); sigma is the running deviation of the node. Each imputer is in a
file of its own; the default is `evidence.py`. Networks are trained by hiding scores and predicting them (masked
modelling, after GRAPE, arXiv 2010.16418): a random 30% and the goal always.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans

HIDE = 0.3
"""Share of the observed scores that a fit hides, beside the goal."""
GOAL_WEIGHT = 3.0
"""Weight of a goal's error in the loss; other scores weigh 1."""


class Imputer(nn.Module):
    """Predicts every node from what is shown, here by its base alone; predictions stay in the range that was observed of the node.

    Subclasses override `residual`, what they add to the base; those with a closed form also override `refit`.
    """

    in_state: ClassVar[bool] = True
    """False where a part that was fitted is no tensor and so not in a checkpoint: it is fitted again when one is loaded."""
    predictive: ClassVar[bool] = False
    """True where the spread of `predict` is that of the goal itself, and not only of the prediction."""
    low: Tensor
    high: Tensor

    def __init__(self, base: RunningMeans, num_nodes: int) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("low", torch.full((num_nodes,), torch.inf))
        self.register_buffer("high", torch.full((num_nodes,), -torch.inf))

    def residual(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None) -> Tensor:
        """[K, B, N] what each of K heads adds to the base, in standard deviations."""
        return torch.zeros((1, *shown.values.shape))

    def forward(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None = None) -> Tensor:
        """Predictions [K, B, N] of the heads, not clipped; the value at an unobserved entry never matters."""
        predicted: Tensor = self.base(shown) + self.base.deviations * self.residual(shown, graph, contexts)
        return predicted

    def predict(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None = None) -> tuple[Tensor, Tensor]:
        """(mean, standard deviation) over the heads, [B, N] each; the mean is clipped to the observed range of its node."""
        each = self(shown, graph, contexts)
        nothing = self.low > self.high
        low, high = torch.where(nothing, 0.0, self.low), torch.where(nothing, 1.0, self.high)
        spread = each.std(0, correction=0) if len(each) > 1 else torch.zeros_like(each[0])
        return torch.maximum(torch.minimum(each.mean(0), high), low), spread

    @torch.no_grad()
    def observe(self, scores: Scores, weights: Tensor | None = None) -> None:
        """Move the running statistics by new observations. weights: [B, N] how much each counts (`batch.weights_of`); None: all alike."""
        self.base.observe(scores, weights)
        self.low = torch.minimum(self.low, torch.where(scores.observed, scores.values, torch.inf).amin(0))
        self.high = torch.maximum(self.high, torch.where(scores.observed, scores.values, -torch.inf).amax(0))

    def loss(
        self, scores: Scores, hidden: Tensor, halves: Tensor, graph: GraphTensors, contexts: Contexts | None = None
    ) -> Tensor:
        """Weighted mean squared error of the heads on hidden scores, in standard deviations, plus the prior's pull.

        Args:
            hidden: bool [B, N], see `hide`; halves: [B, K] weight of each episode for each head.
        """
        # The straight sum, not the clipped one: beyond the clip there would be no gradient back.
        predicted = self(scores.without(hidden), graph, contexts)
        weight = torch.where(hidden & scores.observed, torch.where(scores.is_task, GOAL_WEIGHT, 1.0), 0.0)
        error = torch.where(weight > 0, (predicted - scores.filled) / self.base.deviations, 0.0).square() * weight
        error = error * halves.T[:, :, None] if len(predicted) > 1 else error
        return error.sum() / (len(predicted) * weight.sum().clamp(min=1)) + self.base.penalty()

    def refit(
        self,
        scores: Scores,
        graph: GraphTensors,
        sweeps: int = 1,
        fresh: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """Closed-form fit on everything that is remembered; nothing here.

        Args:
            sweeps: of what is fitted in turns.
            fresh: int64, node positions of the tasks that have new goals; None: all.
            weights: [B, N] how much each observed score counts (`batch.weights_of`); None: all alike. They differ only where `reward.budget.mode` is
                active, which needs an imputer that reads them.
        """

    def forget(self) -> None:
        """Drop what `refit` made and no state has; nothing here."""

    def project(self) -> None:
        """Bring parameters back into their range after an optimizer step."""
        self.base.project()


def hide(scores: Scores, uniform: Tensor, reads_references: Tensor) -> Tensor:
    """bool [B, N] what a fit hides: the goal and what compares with its reference always, and of the other observed scores the share
    HIDE. uniform: [B, N] in [0, 1); reads_references: bool [N]."""
    return scores.observed & ((uniform < HIDE) | scores.is_task | reads_references)
