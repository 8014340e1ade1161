"""The readout: scores of nodes -> what each node pays. Gates first, in [0, 1], then normalisation, then signed credit.

Gate:      q_i = p_i prod_{j prerequisite of i} (rho_ji + (1 - rho_ji) q_j), rho = 1 - g, prerequisites first
           (compare GEAR, arXiv 2606.03361, whose edges are fixed).
Aggregate: p_i = (s_i + sum_j g_ji s_j) / (1 + sum_j g_ji) over components j `part_of` i; p_i = s_i without components.
Normalise: z_i = clip((q_i - mu_i) / max(sigma_i, 0.05), -5, 5), with running statistics of the node.
Credit:    goal weight for the episode's task; eta times [1 for a criterion that acts on no node in play, plus Katz credit
           over `supports`] for the rest; minus g_ij times the target's weight for `conflicts`. At eta = 0 the goal is left,
           gated and charged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rag_graph.reward.graph_tensors import GraphTensors, katz_credit

SIGMA_FLOOR = 0.05
CLIP = 5.0


def aggregate(scores: Tensor, graph: GraphTensors, in_play: Tensor) -> Tensor:
    """Mix components into what they are part of. scores, in_play: [B, N] -> [B, N]."""
    if not graph.edges("aggregate"):
        return scores
    strengths = graph.matrix("aggregate")
    present = in_play.float()
    return (scores + (scores * present) @ strengths) / (1 + present @ strengths)


def gate(scores: Tensor, graph: GraphTensors) -> Tensor:
    """Pass scores [B, N] through their prerequisites; exactly 0 where a strict one (g = 1) failed."""
    incoming: dict[int, list[tuple[int, int]]] = {}
    for edge, source, target in graph.edges("gate"):
        incoming.setdefault(target, []).append((edge, source))
    gated = list(scores.unbind(-1))
    for node in graph.gate_order:
        for edge, source in incoming.get(node, []):
            strength = graph.strength[edge]
            gated[node] = gated[node] * ((1 - strength) + strength * gated[source])
    return torch.stack(gated, -1)


def gate_factors(scores: Tensor, graph: GraphTensors) -> Tensor:
    """[B, N] what a node's own score is multiplied with; 1 without prerequisites."""
    positive = scores.clamp(min=1e-6)
    return gate(positive, graph) / positive


@dataclass(slots=True)
class RunningMoments:
    """Mean and standard deviation of each node over the observed entries so far; forgets beyond `horizon` observations.

    Starts from the prior of a uniform score (mean 1/2, variance 1/12) with the weight of one observation. Only `update`
    changes it: reading a reward never does.
    """

    mean: Tensor  # [N]
    variance: Tensor  # [N]
    count: Tensor  # [N]
    horizon: float = 3000.0

    @classmethod
    def start(cls, num_nodes: int) -> RunningMoments:
        return cls(torch.full((num_nodes,), 0.5), torch.full((num_nodes,), 1 / 12), torch.ones(num_nodes))

    def update(self, values: Tensor, observed: Tensor) -> None:
        """values [B, N]; only True entries of observed [B, N] count (Chan et al. 1979, parallel update)."""
        values = torch.where(observed, values, torch.zeros_like(values))
        new = observed.sum(0).float()
        safe = new.clamp(min=1)
        mean = values.sum(0) / safe
        variance = (torch.where(observed, values - mean, torch.zeros_like(values)) ** 2).sum(0) / safe
        total = self.count + new
        shift = mean - self.mean
        self.variance = (self.count * self.variance + new * variance + self.count * new / total * shift**2) / total
        self.mean = self.mean + shift * new / total
        self.count = total.clamp(max=self.horizon)

    def normalise(self, values: Tensor) -> Tensor:
        """z-scores [B, N], bounded."""
        return ((values - self.mean) / self.variance.sqrt().clamp(min=SIGMA_FLOOR)).clamp(-CLIP, CLIP)

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.mean, self.variance, self.count = state["mean"], state["variance"], state["count"]


def own_weights(graph: GraphTensors, tasks: Tensor, auxiliary: float) -> Tensor:
    """[B, N] flat weights: the goal weight of the episode's task, `auxiliary` for the other nodes in play.

    Args:
        tasks: int64 [B], node position of each episode's task.
    """
    in_play = graph.applies[tasks]
    is_task = torch.nn.functional.one_hot(tasks, len(graph.nodes)).bool()
    goal = torch.where(is_task, graph.goal, torch.zeros_like(graph.goal))
    flat = torch.where(in_play & ~(is_task & (graph.goal[tasks] > 0)[:, None]), auxiliary, 0.0)
    return goal + flat


def graph_weights(graph: GraphTensors, tasks: Tensor, auxiliary: float, damping: float) -> Tensor:
    """[B, N] signed credit. Without edges these are `own_weights` exactly.

    A criterion that gates, makes up, supports or conflicts with a node in play acts through that node and is not paid flat as
    well. The episode's own task also earns, and is charged, for the other tasks that it supports or conflicts with.
    """
    flat = own_weights(graph, tasks, auxiliary)
    in_play = graph.applies[tasks]
    is_task = torch.nn.functional.one_hot(tasks, len(graph.nodes)).bool()
    acts = torch.zeros_like(in_play)
    for edge, source, target in graph.edges("gate", "aggregate", "penalty", "credit"):
        acts[:, source] |= in_play[:, target] & (graph.strength[edge] > 0)
    weights = torch.where(acts & ~is_task, torch.zeros_like(flat), flat)
    goal = torch.where(is_task, graph.goal, torch.zeros_like(graph.goal))
    supports, conflicts = graph.matrix("credit"), graph.matrix("penalty")
    goals = torch.cat([goal, graph.goal[None]])  # each episode's own goal, and last all goals together
    credit = katz_credit(goals, supports, damping) - goals
    earned, earned_of_task = credit[:-1], credit[-1]  # [B, N] for this episode's task, [N] for all tasks
    weights = weights + auxiliary * torch.where(is_task, earned_of_task, earned) * in_play
    charged = weights.clamp(min=0) @ conflicts.T  # [B, N] by source
    charged_to_task = conflicts @ graph.goal  # [N]
    return weights - torch.where(is_task, charged_to_task, charged) * in_play
