"""What a readout is: the way from the scores of a batch to what each node pays. The readouts are in `readouts.py` and `baselines.py`."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.formulas import Worth, own_goal
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.base import Imputer
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans, RunningMoments

Fit = Literal["none", "closed_form", "gradient"]


class Given(NamedTuple):
    """What a readout is given of a batch."""

    filled: Tensor  # [B, N] scores without gaps: observed, or filled in by the imputer
    scores: Scores  # what was observed, and of which task each episode is
    graph: GraphTensors  # with its strengths as learned so far
    auxiliary: Tensor | float  # eta, weight of what fades in beside the goal
    damping: float  # beta of the Katz credit
    steps: int  # relations that credit follows

    @property
    def tasks(self) -> Tensor:
        """int64 [B], node position of each episode's task."""
        return self.scores.tasks


class Paid(NamedTuple):
    """What each node pays. The scalar reward is `(values * weights).sum(-1)` where `paid`."""

    values: Tensor  # [B, N] centred, and in units of the reward's running deviation
    weights: Tensor  # [B, N]
    scores: Tensor  # [B, N] in [0, 1], observed or filled in
    gates: Tensor  # [B, N] in [0, 1]
    paid: Tensor  # bool [B]

    @property
    def total(self) -> Tensor:
        """[B], also where `paid` is False."""
        return (self.values * self.weights).sum(-1)


class Readout:
    """How scores become a reward. A subclass says what differs from this: it must override `worth`.

    A readout holds no tensors: what is learned is in its imputer and in the running statistics of the model.
    """

    name: ClassVar[str]
    fit: Fit = "none"
    """How the imputer learns: not at all beside its running statistics, by `refit`, or by gradient steps."""
    uses_strengths: bool = False
    """True where strengths change the reward, so that learning them means something."""
    standardises: bool = False
    """True where each node is divided by its own running deviation first, as one does who adds up scores of different scales."""
    grows_with_goal_weights: bool = True
    """False where the reward is a share of some total, or whatever a function of one's own returns."""
    pays_unobserved: bool = False
    """True where a node that was not observed pays what was filled in; otherwise it pays nothing."""

    def imputer(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: RewardConfig, text: Tensor) -> Imputer:
        """What fills the gaps: here the running mean of the node. text: [N, size] embeddings of the nodes' texts."""
        return Imputer(RunningMeans(len(tensors.nodes)), len(tensors.nodes))

    def worth(self, given: Given) -> Worth:
        """What nodes pay in score units, before anything running touches it."""
        raise NotImplementedError

    def paid(self, given: Given) -> Tensor:
        """bool [B], the episodes that have a reward: here those with any score."""
        return (given.scores.observed & given.graph.in_play(given.tasks)).any(-1)

    def pay(self, given: Given, moments: RunningMoments) -> Paid:
        """What each node pays, centred on its running mean; changes nothing. moments: of `worth`."""
        return self.centred(given, self.worth(given), moments)

    def centred(self, given: Given, worth: Worth, moments: RunningMoments) -> Paid:
        """`pay` of what is worth so much already."""
        values = moments.standardise(worth.values) if self.standardises else worth.values - moments.mean
        return self._paid(given, worth, values)

    def pay_in_score_units(self, given: Given) -> Paid:
        """The same, neither centred nor divided: where only facts are stated, the expected goal times its weight."""
        worth = self.worth(given)
        return self._paid(given, worth, worth.values)

    def _paid(self, given: Given, worth: Worth, values: Tensor) -> Paid:
        if not self.pays_unobserved:
            values = torch.where(given.scores.observed, values, 0.0)
        return Paid(values, worth.weights, given.filled, worth.gates, self.paid(given))


class PredictedGoal(Readout):
    """The goal, observed or predicted, and nothing else. Subclasses say what predicts it."""

    pays_unobserved = True

    def worth(self, given: Given) -> Worth:
        return own_goal(given.filled, given.graph, given.tasks)
