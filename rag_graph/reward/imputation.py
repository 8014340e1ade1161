"""Scores that were not observed, predicted from those that were.

    s_hat_i = clip(base_i + sigma_i mean_k head_k(h_i)) - lambda sigma_i std_k head_k(h_i),    head = 0 at the start

sigma is the node's running deviation, base the graph's structural prior (`prior_gnn`) or the running mean (`gnn`, `mlp`); h comes from the graph encoder, or from a
network that knows no graph. Trained by hiding scores and predicting them (masked modelling, after GRAPE, arXiv 2010.16418): a
random 30% and the goal always. The heads see different halves of the episodes (double-or-nothing bootstrap, Owen & Eckles 2012),
so that their spread says how sure the prediction is. `ridge` is closed-form and linear, the baseline to beat.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.encoder import Contexts, GraphEncoder
from rag_graph.reward.features import NodeFeatures
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.prior import RunningMeans, StructuralPrior
from rag_graph.reward.scores import Scores

HIDE = 0.3
GOAL_WEIGHT = 3.0
MLP_SIZE = 64
RIDGE = 1.0


class Imputer(nn.Module):
    """Predicts every node from what is shown; predictions stay in the range that was observed of the node.

    Subclasses say what stands on top of the base by `residual`.
    """

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
    def observe(self, scores: Scores) -> None:
        """Move the running statistics by new observations."""
        self.base.observe(scores)
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

    def refit(self, scores: Scores) -> None:
        """Closed-form fit on everything that is remembered; nothing here."""

    def project(self) -> None:
        self.base.project()


def hide(scores: Scores, uniform: Tensor, reads_references: Tensor) -> Tensor:
    """bool [B, N] what a fit hides: the goal and what compares with its reference always, and of the other observed scores the share
    HIDE. uniform: [B, N] in [0, 1); reads_references: bool [N]."""
    return scores.observed & ((uniform < HIDE) | scores.is_task | reads_references)


class RidgeImputer(Imputer):
    """Goals by ridge regression on the other scores in play, missing ones at their running mean; no graph. Refitted from scratch
    after every update: standardised columns, penalty of RIDGE observations, no penalty on the level."""

    coefficients: Tensor  # [N goals, N]
    level: Tensor  # [N goals]

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors) -> None:
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


class MlpImputer(Imputer):
    """Running mean plus a network over all scores, masks and the task; no graph."""

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors) -> None:
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


class GraphImputer(Imputer):
    """A base plus what the graph encoder adds, through an ensemble of zero-initialised heads."""

    def __init__(
        self, base: RunningMeans, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor
    ) -> None:
        super().__init__(base, len(tensors.nodes))
        self.features = NodeFeatures(graph, text)
        self.encoder = GraphEncoder(tensors, NodeFeatures.size, config.hidden_size, config.num_layers, config.num_bases)
        self.heads = nn.Linear(config.hidden_size, config.heads)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def residual(self, shown: Scores, graph: GraphTensors, contexts: Contexts | None) -> Tensor:
        features = self.features(shown, self.base.standardise(shown))
        if contexts is None or not len(contexts.episode):
            states = self.encoder(features, graph)
        else:
            of_contexts = self.features.of_contexts(contexts)
            states = self.encoder.joined(features, graph, of_contexts, contexts, shown.tasks)
        added: Tensor = self.heads(states)
        return added.movedim(-1, 0)


Maker = Callable[[AuxiliaryGraph, GraphTensors, RewardConfig, Tensor], Imputer]


def _means(graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
    return Imputer(RunningMeans(len(tensors.nodes)), len(tensors.nodes))


def _ridge(graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
    return RidgeImputer(graph, tensors)


def _mlp(graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
    return MlpImputer(graph, tensors)


def _gnn(graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
    return GraphImputer(RunningMeans(len(tensors.nodes)), graph, tensors, config, text)


def _prior_gnn(graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
    prior = StructuralPrior(graph, tensors, config.pull, config.discover_gates, config.sparsity)
    return GraphImputer(prior, graph, tensors, config, text)


IMPUTERS: dict[str, Maker] = {
    "goal_only": _means,
    "flat": _means,
    "diffusion": _means,
    "gated_fixed": _means,
    "ridge": _ridge,
    "mlp": _mlp,
    "gnn": _gnn,
    "prior_gnn": _prior_gnn,
}
"""Readout -> how it fills what was not observed."""
