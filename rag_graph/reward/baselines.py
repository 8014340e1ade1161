"""Simple ways to a reward that a graph has to beat: each a class that says all there is to say about it."""

from __future__ import annotations

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.formulas import (
    Worth,
    diffusion_weights,
    expected_utility,
    flat_weights,
    goal_weights,
    own_goal,
)
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.imputers.boosting import BoostingImputer
from rag_graph.reward.imputers.graph_network import GraphImputer
from rag_graph.reward.imputers.mlp import MlpImputer
from rag_graph.reward.imputers.one_direction import OneDirection, product, soft_minimum
from rag_graph.reward.imputers.ridge import RidgeImputer
from rag_graph.reward.readout import Given, PredictedGoal, Readout
from rag_graph.reward.statistics import RunningMeans


class GoalOnly(Readout):
    """The observed goal; an episode without one has no reward."""

    name = "goal_only"

    def worth(self, given: Given) -> Worth:
        return own_goal(given.filled, given.graph, given.tasks)

    def paid(self, given: Given) -> Tensor:
        return given.scores.observed.gather(-1, given.tasks[:, None]).squeeze(-1)


class RandomReward(Readout):
    """A number that depends on the scores in no sensible way: what a policy gains without a signal."""

    name = "random"
    pays_unobserved = True

    def worth(self, given: Given) -> Worth:
        known = torch.where(given.scores.observed, given.scores.values, 0.5)
        # Alike for all nodes: their order plays no part.
        each = torch.frac(torch.sin(known * 12.9898 + 1.0) * 43758.5453).abs()
        noise = torch.frac(torch.sin(each.sum(-1, keepdim=True) * 78.233 + 1.0) * 43758.5453).abs()
        return own_goal(noise.expand_as(given.filled), given.graph, given.tasks)


class Flat(Readout):
    """The hand-weighted sum: the goal, and with the same weight the mean of the other nodes in play, each in standard deviations and with the
    sign of its relation. What was not observed pays nothing."""

    name = "flat"
    standardises = True

    def worth(self, given: Given) -> Worth:
        goal = goal_weights(given.graph, given.tasks)
        flat = goal.sum(-1, keepdim=True) * flat_weights(given.graph, given.tasks)
        return Worth(given.filled, goal + flat, torch.ones_like(given.filled))


class Diffusion(Readout):
    """Signed personalised PageRank from the goal."""

    name = "diffusion"
    uses_strengths = True
    standardises = True

    def worth(self, given: Given) -> Worth:
        return Worth(given.filled, diffusion_weights(given.graph, given.tasks), torch.ones_like(given.filled))


class GatedFixed(Readout):
    """Gates and signed strengths of the file, divided by their total size; what is missing at its running mean. Compare GEAR (arXiv 2606.03361)."""

    name = "gated_fixed"
    uses_strengths = True
    grows_with_goal_weights = False
    pays_unobserved = True

    def worth(self, given: Given) -> Worth:
        return expected_utility(given.filled, given.graph, given.tasks)


class Product(PredictedGoal):
    """The goal, or the product of the scores that bound it, brought to the scale of the goals that were seen."""

    name = "product"
    fit = "closed_form"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return OneDirection(tensors, product)


class ImputedProduct(PredictedGoal):
    """`product` over scores whose gaps are filled in by expectation-maximisation instead of by their mean."""

    name = "em_product"
    fit = "closed_form"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return OneDirection(tensors, product, fill=True)


class SoftMinimum(PredictedGoal):
    """The goal, or the soft minimum of the scores that bound it."""

    name = "soft_min"
    fit = "closed_form"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return OneDirection(tensors, soft_minimum)


class Ridge(PredictedGoal):
    """The goal, or its ridge regression on the other scores, the penalty by leave-one-out."""

    name = "ridge"
    fit = "closed_form"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return RidgeImputer(tensors)


class RidgeToEqual(PredictedGoal):
    """`ridge` that shrinks towards equal weights with the signs of the file (Dawes 1979), not towards 0."""

    name = "ridge_equal"
    fit = "closed_form"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return RidgeImputer(tensors, to_equal=True)


class Boosting(PredictedGoal):
    """The goal, or what boosted trees on the other scores predict."""

    name = "boosting"
    fit = "closed_form"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return BoostingImputer(tensors)


class Mlp(PredictedGoal):
    """The goal, or what a network that knows no graph predicts."""

    name = "mlp"
    fit = "gradient"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return MlpImputer(tensors)


class Gnn(PredictedGoal):
    """The goal, or what a graph network predicts to which the relations have no stated meaning."""

    name = "gnn"
    fit = "gradient"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return GraphImputer(RunningMeans(len(tensors.nodes)), graph, tensors, config, text)
