"""The formulas of the readouts: gates, components, credit, penalties, walks. Gates come first, in [0, 1]; then normalisation; then signed credit.

Gate:      q_i = p_i f_i,  f_i = prod_{j prerequisite of i} (rho_ji + (1 - rho_ji) q_j), rho = 1 - g, prerequisites first
           (compare GEAR, arXiv 2606.03361, whose edges are fixed).
Aggregate: p_i = (s_i + sum_j g_ji s_j) / (1 + sum_j g_ji) over components j `part_of` i; p_i = s_i without components.
Open:      a node that earns for what it `supports` pays q_j o_j; o_j in [0, 1] is the share of its credit that reaches it through
           the gates f of what it supports. Supporting an answer whose prerequisite failed is worth nothing.
Credit:    goal weight for the episode's task; eta times [an equal share of 1 for each criterion that acts on no node in play, plus
           Katz credit over `supports`, minus g_ij times the target's weight for `conflicts`] for the rest. At eta = 0 the goal is left, gated.

Which readout uses which of them is said in `readouts.py`; the running statistics of the normalisation are in `statistics.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rag_graph.graph.spec import Semantics
from rag_graph.reward.graph_tensors import GraphTensors, katz_credit
from rag_graph.reward.scores import task_mask

SIGNS: dict[Semantics, float] = {"gate": 1.0, "credit": 1.0, "aggregate": 1.0, "penalty": -1.0}
"""What the relations that bear on a target's worth say of its source."""


def aggregate(scores: Tensor, graph: GraphTensors, in_play: Tensor) -> Tensor:
    """Mix components into what they are part of. scores, in_play: [B, N] -> [B, N]."""
    if not len(graph.of_meaning["aggregate"]):
        return scores
    present = in_play.to(scores.dtype)
    return (scores + graph.push(scores * present, "aggregate")) / (1 + graph.push(present, "aggregate"))


def gate(scores: Tensor, graph: GraphTensors) -> tuple[Tensor, Tensor]:
    """Pass scores [B, N] through their prerequisites.

    Returns:
        gated scores q [B, N], exactly 0 where a strict prerequisite (g = 1) is 0; the gates f [B, N], 1 without prerequisites.
    """
    factors = torch.ones_like(scores)
    gated = scores
    for level in graph.gate_levels:
        strength = graph.strength[level.edges]
        passed = torch.where(level.valid, 1 - strength + strength * gated[..., level.sources], 1.0).prod(-1)  # [B, n]
        factors = factors * torch.cat([passed, torch.ones_like(passed[..., :1])], -1)[..., level.slot]
        gated = scores * factors
    return gated, factors


def goal_weights(graph: GraphTensors, tasks: Tensor) -> Tensor:
    """[B, N] the goal weight of each episode's task, 0 elsewhere. tasks: int64 [B], node position of each episode's task."""
    return graph.goal * task_mask(tasks, len(graph.nodes))


def own_weights(graph: GraphTensors, tasks: Tensor, auxiliary: Tensor | float) -> Tensor:
    """[B, N] flat weights: the goal weight of the episode's task, and `auxiliary`, shared evenly, for the other nodes in play."""
    goal = goal_weights(graph, tasks)
    return goal + auxiliary * _evenly(graph.applies[tasks] & (goal == 0))


def _evenly(nodes: Tensor) -> Tensor:
    """[B, N] that sum to 1 over the nodes, bool [B, N]."""
    return nodes / nodes.sum(-1, keepdim=True).clamp(min=1)


def opened(graph: GraphTensors, tasks: Tensor, gates: Tensor, damping: float, steps: int | None = None) -> Tensor:
    """[B, N] in [0, 1]: the share of a node's credit for what it supports that comes through the gates [B, N] of this episode."""
    goals = goal_weights(graph, tasks)
    full = katz_credit(goals, graph, damping, steps=steps) - goals
    through = katz_credit(goals, graph, damping, gates, steps) - goals
    return torch.where(full > 0, through / full.clamp(min=1e-12), 1.0)


def graph_weights(
    graph: GraphTensors, tasks: Tensor, auxiliary: Tensor | float, damping: float, steps: int | None = None
) -> Tensor:
    """[B, N] signed credit. Without edges these are `own_weights` exactly.

    A criterion that gates, makes up, supports or conflicts with a node in play acts through that node and is not paid flat as
    well. The episode's own task also earns, and is charged, for the other tasks that it supports or conflicts with.
    """
    goal = goal_weights(graph, tasks)
    in_play = graph.applies[tasks]
    is_task = task_mask(tasks, len(graph.nodes))
    live = (graph.strength > 0).to(goal.dtype)
    acts = torch.stack([graph.pull(in_play.to(goal.dtype), meaning, live) for meaning in SIGNS]).sum(0)
    weights = goal + auxiliary * _evenly(in_play & (goal == 0) & ((acts == 0) | is_task))
    goals = torch.cat([goal, graph.goal[None]])  # each episode's own goal, and last all goals together
    credit = katz_credit(goals, graph, damping, steps=steps) - goals
    earned, earned_of_task = credit[:-1], credit[-1]  # [B, N] for this episode's task, [N] for all tasks
    weights = weights + auxiliary * torch.where(is_task, earned_of_task, earned) * in_play
    charged = graph.pull(weights.clamp(min=0), "penalty")  # [B, N] by source
    charged_to_task = graph.pull(graph.goal, "penalty")  # [N]
    return weights - auxiliary * torch.where(is_task, charged_to_task, charged) * in_play


def diffusion_weights(graph: GraphTensors, tasks: Tensor, restart: float = 0.5, steps: int = 20) -> Tensor:
    """[B, N] signed personalised PageRank from the episode's goal, walking against the relations: w = r e + (1 - r) P^T w.

    A step leaves a node for a source of one of its `supports`, `prerequisite` and `part_of` relations (sign +) or `conflicts`
    (sign -) with probability proportional to the strength (random walk with restart on a signed graph, Jung et al. 2016).
    """
    start = goal_weights(graph, tasks)
    leaving = torch.stack([graph.push(torch.ones_like(graph.goal), meaning) for meaning in SIGNS]).sum(0)
    scale = 1 / leaving.clamp(min=1e-12)
    weights = start
    for _ in range(steps):
        weights = restart * start + (1 - restart) * _signed_pull(graph, weights * scale)
    return weights * graph.applies[tasks]


def expected_utility(graph: GraphTensors, tasks: Tensor, observed: Tensor) -> Tensor:
    """[B, N] weights of GEAR (arXiv 2606.03361): signed utilities of the events that bear on the goal, divided by their total size.

    A criterion's utility is the strength of its relation to the episode's task, negative for `conflicts`; the goal's own is its weight,
    where it was observed.
    """
    is_task = task_mask(tasks, len(graph.nodes))
    bearing = _signed_pull(graph, is_task.to(graph.goal.dtype)) * graph.applies[tasks]
    utility = torch.where(is_task, goal_weights(graph, tasks) * observed, bearing)
    return utility / utility.abs().sum(-1, keepdim=True).clamp(min=1e-12)


def _signed_pull(graph: GraphTensors, values: Tensor) -> Tensor:
    return torch.stack([sign * graph.pull(values, meaning) for meaning, sign in SIGNS.items()]).sum(0)
