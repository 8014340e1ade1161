"""The readouts that follow the rules of the graph, and the list of all. One class a readout says all there is to say about it.

`reward.readout` in a config names one. A new one is a class here or in `baselines.py`, its line in READOUTS, and its name in
`rag_graph.config.ReadoutName`. One of your own, for one run, is a function or an object of such a class that you pass in; nothing is registered.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.baselines import (
    Boosting,
    Diffusion,
    Flat,
    GatedFixed,
    Gnn,
    GoalOnly,
    ImputedProduct,
    Mlp,
    Product,
    RandomReward,
    Ridge,
    RidgeToEqual,
    SoftMinimum,
)
from rag_graph.reward.formulas import Worth, rules
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.imputers.evidence import EvidenceImputer
from rag_graph.reward.imputers.graph_network import GraphImputer
from rag_graph.reward.imputers.prior import StructuralPrior
from rag_graph.reward.readout import Fit, Given, Readout


class ExpectedGoal(Readout):
    """The goal where it is observed and its posterior mean where not; then the rules of the graph. The default."""

    name = "expected_goal"
    fit: Fit = "closed_form"
    uses_strengths = True
    pays_unobserved = True

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return EvidenceImputer(tensors)

    def worth(self, given: Given) -> Worth:
        return rules(given.filled, given.graph, given.tasks, given.auxiliary, given.damping, given.steps)


class PriorGnn(ExpectedGoal):
    """The same pay, but the graph's fitted prior and a graph network predict what is missing."""

    name = "prior_gnn"
    fit: Fit = "gradient"

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        prior = StructuralPrior(graph, tensors, config.discover_gates)
        return GraphImputer(prior, graph, tensors, config, text)


READOUTS: dict[str, Readout] = {
    readout.name: readout
    for readout in (
        ExpectedGoal(), PriorGnn(), GoalOnly(), RandomReward(), Flat(), Diffusion(), GatedFixed(), Product(), ImputedProduct(),
        SoftMinimum(), Ridge(), RidgeToEqual(), Boosting(), Mlp(), Gnn(),
    )
}  # fmt: skip

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

    pays_unobserved = True
    grows_with_goal_weights = False

    def __init__(self, function: PayFunction, filled_by: Readout) -> None:
        self.function, self.filled_by = function, filled_by
        self.fit, self.uses_strengths = filled_by.fit, filled_by.uses_strengths

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        return self.filled_by.imputer(graph, tensors, config, text)

    def worth(self, given: Given) -> Worth:
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
        weights = (given.graph.in_play(given.tasks) | (values != 0)).to(filled.dtype)
        return Worth(values, weights, torch.ones_like(filled))


def readout_of(name: str, own: OwnReadout | None = None) -> Readout:
    """The readout that a config names, or a researcher's own; then the name says whose imputer fills the gaps for a function."""
    if own is None:
        return READOUTS[name]
    return own if isinstance(own, Readout) else FromFunction(own, READOUTS[name])
