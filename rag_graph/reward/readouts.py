"""Readouts: from the scores of a batch to what each node pays. One class a readout says all there is to say about it.

`reward.readout` in a config names one. A new one is a class here, its line in READOUTS, and its name in `rag_graph.config.ReadoutName`. One of your
own, for one run, is a function or an object of such a class that you pass in; nothing is registered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.formulas import (
    aggregate,
    diffusion_weights,
    expected_utility,
    gate,
    graph_weights,
    opened,
    own_weights,
)
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.imputers.graph_network import GraphImputer
from rag_graph.reward.imputers.mlp import MlpImputer
from rag_graph.reward.imputers.prior import StructuralPrior
from rag_graph.reward.imputers.ridge import RidgeImputer
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans, RunningMoments


class Given(NamedTuple):
    """What a readout is given of a batch."""

    filled: Tensor  # [B, N] scores without gaps: observed, or filled in by the imputer
    scores: Scores  # what was observed, and of which task each episode is
    graph: GraphTensors  # with its strengths as learned so far
    auxiliary: Tensor | float  # eta, weight of everything that is not the goal itself
    damping: float  # beta of the Katz credit
    steps: int  # relations that credit follows

    @property
    def tasks(self) -> Tensor:
        """int64 [B], node position of each episode's task."""
        return self.scores.tasks


class Paid(NamedTuple):
    """What each node pays. The scalar reward is `(values * weights).sum(-1)` where `paid`."""

    values: Tensor  # [B, N] gated and normalised
    weights: Tensor  # [B, N] credit
    scores: Tensor  # [B, N] in [0, 1], observed or filled in
    gates: Tensor  # [B, N] in [0, 1]
    paid: Tensor  # bool [B]

    @property
    def total(self) -> Tensor:
        """[B], also where `paid` is False."""
        return (self.values * self.weights).sum(-1)


class Readout:
    """How scores become a reward. A subclass says what differs from this: it must override `weights`, or `pay` as a whole.

    A readout holds no tensors: what is learned is in its imputer and in the running statistics of the model.
    """

    name: ClassVar[str]
    fit: Literal["none", "closed_form", "gradient"] = "none"
    """How its imputer is fitted, beside the running statistics."""
    uses_strengths: bool = False
    """True where the strengths of the graph matter, so that the graph can learn."""
    normalises: bool = True
    """True where a node pays in standard deviations from its running mean."""
    pays_unobserved: bool = False
    """True where a node that was not observed pays what was filled in; otherwise it pays nothing."""

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        """What fills the gaps: here the running mean of the node. text: [N, size] embeddings of the nodes' texts."""
        return Imputer(RunningMeans(len(tensors.nodes)), len(tensors.nodes))

    def worth(self, given: Given) -> tuple[Tensor, Tensor]:
        """(what a node's score is worth before it is normalised, its gates), [B, N] each: here the score itself, with open gates."""
        return given.filled, torch.ones_like(given.filled)

    def weights(self, given: Given) -> Tensor:
        """[B, N] weight of each node in the reward."""
        raise NotImplementedError

    def paid(self, given: Given) -> Tensor:
        """bool [B], the episodes that have a reward: here all."""
        return torch.ones_like(given.tasks, dtype=torch.bool)

    def pay(self, given: Given, moments: RunningMoments) -> Paid:
        """What each node pays; changes nothing. moments: of `worth`."""
        values, gates = self.worth(given)
        if self.normalises:
            values = moments.normalise(values)
        if not self.pays_unobserved:
            values = torch.where(given.scores.observed, values, 0.0)
        return Paid(values, self.weights(given), given.filled, gates, self.paid(given))

    def utility(self, paid: Paid) -> Tensor:
        """[B, N] what each node pays in score units, weight included: a yardstick that no running statistic moves."""
        return paid.scores * paid.gates * paid.weights


class GoalOnly(Readout):
    """The observed goal; an episode without one has no reward."""

    name = "goal_only"

    def weights(self, given: Given) -> Tensor:
        return own_weights(given.graph, given.tasks, 0.0)

    def paid(self, given: Given) -> Tensor:
        return given.scores.observed.gather(-1, given.tasks[:, None]).squeeze(-1)


class Flat(Readout):
    """The goal plus eta times the mean of the other nodes in play."""

    name = "flat"

    def weights(self, given: Given) -> Tensor:
        return own_weights(given.graph, given.tasks, given.auxiliary)


class Diffusion(Readout):
    """Signed personalised PageRank from the goal."""

    name = "diffusion"
    uses_strengths = True

    def weights(self, given: Given) -> Tensor:
        return diffusion_weights(given.graph, given.tasks)


class GatedFixed(Readout):
    """Gates and signed strengths of the file, divided by their total size; no eta. Compare GEAR (arXiv 2606.03361)."""

    name = "gated_fixed"
    uses_strengths = True
    normalises = False
    pays_unobserved = True

    def worth(self, given: Given) -> tuple[Tensor, Tensor]:
        return _gated(given)

    def weights(self, given: Given) -> Tensor:
        return expected_utility(given.graph, given.tasks, given.scores.observed)


class PredictedGoal(Readout):
    """The goal, observed or predicted, and nothing else. Subclasses say what predicts it."""

    pays_unobserved = True

    def weights(self, given: Given) -> Tensor:
        return own_weights(given.graph, given.tasks, 0.0)


class Ridge(PredictedGoal):
    """The goal, or its ridge regression on the other scores."""

    name = "ridge"
    fit = "closed_form"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return RidgeImputer(tensors)


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


class PriorGnn(Readout):
    """Gates, credit and conflicts over observed and predicted scores; the graph's fitted prior and a graph network predict."""

    name = "prior_gnn"
    fit = "gradient"
    uses_strengths = True
    pays_unobserved = True

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        prior = StructuralPrior(graph, tensors, config.discover_gates)
        return GraphImputer(prior, graph, tensors, config, text)

    def worth(self, given: Given) -> tuple[Tensor, Tensor]:
        return _gated(given)

    def weights(self, given: Given) -> Tensor:
        return graph_weights(given.graph, given.tasks, given.auxiliary, given.damping, given.steps)


def _gated(given: Given) -> tuple[Tensor, Tensor]:
    """(scores with their components mixed in and gated, gates); what supports a task passes the gates of that task as well."""
    graph = given.graph
    gated, gates = gate(aggregate(given.filled, graph, graph.applies[given.tasks]), graph)
    through = opened(graph, given.tasks, gates, given.damping, given.steps)
    return gated * torch.where(given.scores.is_task, 1.0, through), gates


READOUTS: dict[str, Readout] = {
    readout.name: readout
    for readout in (GoalOnly(), Flat(), Diffusion(), GatedFixed(), Ridge(), Mlp(), Gnn(), PriorGnn())
}

PayFunction = Callable[[Tensor, GraphTensors, Tensor], Tensor]
"""Scores without gaps [B, N], the graph, task of each episode [B] -> what each node pays [B, N]."""
OwnReadout = PayFunction | Readout
"""What a researcher may bring: a function that pays, or a readout as a whole."""


class FromFunction(Readout):
    """A function that pays, as a readout.

    Args:
        function: what pays.
        filled_by: the readout whose imputer fills the gaps, and which says whether the graph learns.
    """

    normalises = False
    pays_unobserved = True

    def __init__(self, function: PayFunction, filled_by: Readout) -> None:
        self.function, self.filled_by = function, filled_by
        self.fit, self.uses_strengths = filled_by.fit, filled_by.uses_strengths

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return self.filled_by.imputer(graph, tensors, config, text)

    def pay(self, given: Given, moments: RunningMoments) -> Paid:
        """
        Raises:
            ConfigError: the function gave something else than finite numbers of the right shape.
        """
        filled, values = given.filled, self.function(given.filled, given.graph, given.tasks)
        if not isinstance(values, Tensor):
            raise ConfigError(
                f"your readout returned a {type(values).__name__}; a tensor of shape {list(filled.shape)} is expected."
            )
        finite = bool(torch.isfinite(values).all())
        if values.shape != filled.shape or not finite:
            raise ConfigError(
                f"your readout returned a tensor of shape {list(values.shape)}{'' if finite else ' with NaN or infinity'}; "
                f"finite numbers of shape {list(filled.shape)}, what each node pays in each episode, are expected."
            )
        weights = (given.graph.applies[given.tasks] | (values != 0)).to(filled.dtype)
        return Paid(values, weights, filled, torch.ones_like(filled), self.paid(given))

    def utility(self, paid: Paid) -> Tensor:
        return paid.values * paid.weights


def readout_of(name: str, own: OwnReadout | None = None) -> Readout:
    """The readout that a config names, or a researcher's own; then the name says whose imputer fills the gaps for a function."""
    if own is None:
        return READOUTS[name]
    return own if isinstance(own, Readout) else FromFunction(own, READOUTS[name])
