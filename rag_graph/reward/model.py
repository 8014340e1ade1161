"""`RewardModel`: node scores of a batch -> what each node pays. Tensors only; `GraphReward` brings episodes.

It joins a readout, the imputer that the readout names, the running statistics and the learning of strengths. What a readout is, is said in
`readouts.py` alone. Reading a reward (`forward`) changes nothing. An update is `observe`, then `loss` or `refit`, which fit the imputer, then `settle`.
Everything that is learned is a parameter or a buffer, so that `torch.func` can run many independent copies at once (experiments/planted does).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor, nn

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.proposal import Proposal
from rag_graph.reward.batch import Batch
from rag_graph.reward.contained import ContainedRules
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.graph_learning import Alignment, with_reserved_goals
from rag_graph.reward.graph_tensors import GraphTensors, check_damping, longest_path, spectral_radius
from rag_graph.reward.imputers.base import hide
from rag_graph.reward.imputers.prior import StructuralPrior
from rag_graph.reward.readout import Given, Paid
from rag_graph.reward.readouts import OwnReadout, readout_of
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMoments, RunningScale

FOUND_GATE = 0.3
"""A discovered gate of this strength is proposed."""
MOST_LOOP = 0.9
"""Damping times spectral radius that learned strengths may reach."""


class RewardModel(nn.Module):
    """
    Args:
        graph: the auxiliary graph; its strengths are where `strength` starts.
        text: [N, size] embeddings of the nodes' texts.
        own_readout: a readout of your own, instead of `config.readout`. For a function that pays, `config.readout` still says which imputer fills
            the gaps and whether the graph learns.
        readers: criteria whose own functions read the reference: they give a hidden goal away, and are hidden with it.

    Raises:
        ConfigError: no goal task, or a damping with which credit diverges.
    """

    strength: Tensor

    def __init__(
        self,
        graph: AuxiliaryGraph,
        config: RewardConfig,
        text: Tensor,
        own_readout: OwnReadout | None = None,
        readers: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.readout = readout_of(config.readout, own_readout)
        self.damping, self.caution = config.damping, config.caution
        self.topology = GraphTensors.of(graph, readers)
        if not bool((self.topology.goal > 0).any()):
            raise ConfigError(
                f"graph '{graph.name}': no task has a goal weight, so there is nothing to reward. Give a task 'goal: 1.0'."
            )
        check_damping(self.topology, config.damping)
        self.cyclic = spectral_radius(replace(self.topology, strength=torch.ones_like(self.topology.strength))) > 0
        self.steps = longest_path(self.topology, config.damping, MOST_LOOP)
        self.in_units = config.scale == "deviation"
        self.register_buffer("strength", self.topology.strength.clone())
        self.imputer = self.readout.imputer(graph, self.topology, config, text)
        self.moments = RunningMoments(len(graph.nodes))
        self.scale = RunningScale(1.0 if self.readout.standardises else 1 / 12)
        self.weight_unit = float(self.topology.goal.max()) if self.readout.grows_with_goal_weights else 1.0
        self.method = config.learn.method if self.readout.uses_strengths else "none"
        self.learner = Alignment(graph, self.topology, config.learn)
        self.contained = ContainedRules(graph, self.topology)
        self.leave_out = config.contained_rules == "leave_out"

    @property
    def graph(self) -> GraphTensors:
        """The graph with its strengths as learned so far; of a rule that is left out, what the goal does not contain."""
        strength = self.contained.remaining(self.strength) if self.leave_out else self.strength
        return replace(self.topology, strength=strength)

    def fill(self, scores: Scores, contexts: Contexts | None = None) -> Tensor:
        """[B, N] observed where observed, else the cautious prediction."""
        return self._fill(scores, self.graph, contexts)

    def _fill(self, scores: Scores, graph: GraphTensors, contexts: Contexts | None) -> Tensor:
        expected, spread = self.imputer.predict(scores, graph, contexts)
        return torch.where(scores.observed, scores.values, (expected - self.caution * spread).clamp(0, 1))

    def predict_goal(self, scores: Scores, contexts: Contexts | None = None) -> Tensor:
        """[B] what is expected of each episode's goal from the other scores, its own hidden."""
        return self._hidden_goal(scores, contexts)[0]

    def _hidden_goal(self, scores: Scores, contexts: Contexts | None) -> tuple[Tensor, Tensor]:
        """([B] expected goal, its spread), each episode's own goal hidden."""
        shown = scores.without_goal(self.topology.reads_references)
        mean, spread = (
            part.gather(-1, scores.tasks[:, None]).squeeze(-1)
            for part in self.imputer.predict(shown, self.graph, contexts)
        )
        return mean, spread

    def goal_interval(
        self, scores: Scores, level: float, contexts: Contexts | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """([B] expected goal from the other scores, low, high): an interval in [0, 1] that covers the goal with probability `level`; NaN where
        the imputer knows no such thing."""
        mean, deviation = self._hidden_goal(scores, contexts)
        reach = float(torch.special.ndtri(torch.tensor(0.5 + level / 2))) * deviation
        if not self.imputer.predictive:
            reach = torch.full_like(reach, torch.nan)
        return mean, (mean - reach).clamp(0, 1), (mean + reach).clamp(0, 1)

    def forward(
        self,
        scores: Scores,
        auxiliary: Tensor | float,
        contexts: Contexts | None = None,
        strength: Tensor | None = None,
    ) -> Paid:
        """
        Args:
            auxiliary: eta, weight of everything that is not the goal itself.
            strength: [E] other strengths than those learned so far.
        """
        graph = self.graph if strength is None else replace(self.topology, strength=strength)
        return self.pay(self._fill(scores, graph, contexts), scores, auxiliary, graph)

    def pay(self, filled: Tensor, scores: Scores, auxiliary: Tensor | float, graph: GraphTensors | None = None) -> Paid:
        """What each node pays for scores without gaps, [B, N], in the unit that `reward.scale` names."""
        given = self._given(filled, scores, auxiliary, graph or self.graph)
        if not self.in_units:
            return self.readout.pay_in_score_units(given)
        paid = self.readout.pay(given, self.moments)
        return paid._replace(values=paid.values / (self.weight_unit * self.scale.deviation))

    def utility(self, filled: Tensor, scores: Scores, auxiliary: Tensor | float, graph: GraphTensors) -> Tensor:
        """[B, N] what each node pays in score units, weight included: a yardstick that no running statistic moves."""
        paid = self.readout.pay_in_score_units(self._given(filled, scores, auxiliary, graph))
        return paid.values * paid.weights

    def value_of_nothing(self) -> Tensor:
        """[N] the value of a node that is worth nothing, by the current statistics: `Paid.values` where its worth is 0."""
        nothing = torch.zeros_like(self.moments.mean)
        if not self.in_units:
            return nothing
        centred = self.moments.standardise(nothing) if self.readout.standardises else -self.moments.mean
        return centred / (self.weight_unit * self.scale.deviation)

    def _given(self, filled: Tensor, scores: Scores, auxiliary: Tensor | float, graph: GraphTensors) -> Given:
        return Given(filled, scores, replace(graph, absent=scores.absent), auxiliary, self.damping, self.steps)

    @torch.no_grad()
    def observe(self, scores: Scores, weights: Tensor | None = None) -> None:
        """Take new observations into the imputer's running statistics. Then the imputer is fitted, and `settle` ends the update.

        Args:
            weights: [B, N] how much each observed score counts (`batch.weights_of`); None: all alike.
        """
        self.imputer.observe(scores, weights)
        self.contained.update(scores)

    @torch.no_grad()
    def settle(self, scores: Scores, contexts: Contexts | None = None, auxiliary: Tensor | float = 0.0) -> None:
        """Centre and scale by what these episodes are worth now, gaps filled in as they will be for the next ones. auxiliary: eta."""
        given = self._given(self.fill(scores, contexts), scores, auxiliary, self.graph)
        worth = self.readout.worth(given)
        in_play = given.graph.in_play(scores.tasks) & self.readout.paid(given)[:, None]
        self.moments.update(worth.values, in_play if self.readout.pays_unobserved else scores.observed)
        paid = self.readout.centred(given, worth, self.moments)
        self.scale.update(paid.total / self.weight_unit, scores.tasks, paid.paid, len(self.topology.nodes))

    def loss(self, scores: Scores, uniform: Tensor, halves: Tensor, contexts: Contexts | None = None) -> Tensor:
        """The imputer's loss on episodes whose scores are partly hidden.

        Args:
            uniform: [B, N] in [0, 1), what decides which scores are hidden.
            halves: [B, K] weight of each episode for each head.
        """
        return self.imputer.loss(
            scores, hide(scores, uniform, self.topology.reads_references), halves, self.graph, contexts
        )

    def preference_loss(self, better: Batch, worse: Batch) -> Tensor:
        """Bradley-Terry: -log sigmoid of the difference of the predicted goals, in standard deviations of the goal."""
        logit = self._expected_goal(better) - self._expected_goal(worse)
        return nn.functional.softplus(-logit).mean()

    def _expected_goal(self, batch: Batch) -> Tensor:
        each = (
            self.imputer(batch.scores.without_goal(self.topology.reads_references), self.graph, batch.contexts)
            / self.imputer.base.deviations
        )
        expected: Tensor = each.mean(0).gather(-1, batch.scores.tasks[:, None]).squeeze(-1)
        return expected

    def refit(
        self, scores: Scores, sweeps: int = 1, fresh: Tensor | None = None, weights: Tensor | None = None
    ) -> None:
        """Closed-form fit on everything that is remembered, where the imputer has one; see `Imputer.refit`."""
        self.imputer.refit(scores, self.graph, sweeps, fresh, weights)

    # ------------------------------------------------------------------ the graph learns

    @torch.no_grad()
    def align(self, scores: Scores, goal: Tensor, reserved: Tensor) -> None:
        """Gather evidence about relations, and move strengths by it where the method is alignment. goal: [B] raw goal scores, read on
        reserved episodes (bool [B]) only."""
        revealed = with_reserved_goals(scores, goal, reserved, self.topology.goal)
        if self.method == "alignment":
            self._move(self.learner.align(revealed))
        else:
            self.learner.evidence(revealed)

    def meta_step(
        self, scores: Scores, influence: Tensor, auxiliary: Tensor | float, contexts: Contexts | None = None
    ) -> None:
        """Move strengths along dJ/dg = sum_b influence_b dA_b/dg, A the batch's centred reward.

        Args:
            influence: [B] kappa, how far a step on the episode would move the policy along the gradient of J.
        """

        def objective(strength: Tensor) -> Tensor:
            paid: Paid = self(scores, auxiliary, contexts, strength)
            total = paid.total
            return (influence * (total - total.mean()) / (total.detach().std(correction=0) + 1e-6)).sum()

        gradient = torch.func.grad(objective)(self.strength).detach()
        told = (influence != 0).any() & torch.isfinite(gradient)
        self._move(self.learner.step(torch.where(told, gradient, 0.0), told))

    def _move(self, strength: Tensor) -> None:
        """Take new strengths; where `supports` form a cycle, weakened so far that credit does not diverge."""
        if self.cyclic:
            loop = self.damping * spectral_radius(replace(self.topology, strength=strength))
            if loop > MOST_LOOP:
                credit = torch.zeros_like(strength, dtype=torch.bool)
                credit[self.topology.of_meaning["credit"]] = True
                strength = torch.where(credit & self.learner.movable, strength * MOST_LOOP / loop, strength)
                if self.damping * spectral_radius(replace(self.topology, strength=strength)) > (1 + MOST_LOOP) / 2:
                    return  # frozen strengths leave no room
        self.strength = strength

    def gate_proposals(self, graph: AuxiliaryGraph) -> list[Proposal]:
        """Bounds that the file lacks and that the fitted prior needs to explain the goal."""
        base = self.imputer.base
        if not isinstance(base, StructuralPrior):
            return []
        found = zip(base.candidates, base.gamma[base.num_stated :].tolist(), strict=True)
        strong = sorted(((gamma, pair) for pair, gamma in found if gamma >= FOUND_GATE), reverse=True)
        return [
            Proposal("gate", graph.nodes[j], graph.nodes[i], "", "bounds", f"fitted bound {gamma:.2f}")
            for gamma, (j, i) in strong
        ]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, object]]:
        """For an optimizer: networks, and the few parameters of the prior, which learn ten times faster."""
        prior = list(self.imputer.base.parameters())
        known = {id(parameter) for parameter in prior}
        networks = [parameter for parameter in self.parameters() if id(parameter) not in known]
        groups: list[dict[str, object]] = [{"params": networks, "lr": learning_rate, "weight_decay": 1e-4}]
        return groups + ([{"params": prior, "lr": 10 * learning_rate, "weight_decay": 0.0}] if prior else [])
