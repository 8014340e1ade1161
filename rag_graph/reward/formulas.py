"""The formulas of the rules, in score units, and what the baselines take from the relations.

Reward of an episode of a task with goal weight w, y the scores (observed or expected), sums over the nodes in play:

    R = w [ F (A + sum_j a_j q_j o_j / (1 + T)) - sum_j b_j y_j / (1 + T) ] + eta flat

Gate:      F of a node = prod_{j prerequisite} (1 - g_j (1 - q_j)), prerequisites first; q = A F (compare GEAR, arXiv 2606.03361).
Aggregate: A_i = (y_i + sum_j g_ji y_j) / (1 + sum_j g_ji) over components j `part_of` i; A_i = y_i without components.
Credit:    a_j, Katz credit over `supports` (Katz 1953), relative to w; o_j in [0, 1] is the share of it that comes through the gates of what j supports.
Charge:    b_j = sum_i g_ji (a_i + [i is the task]) over `conflicts`. No gate waives it.
Bound:     T = sum_j (a_j + b_j). So supporters and conflicts together weigh less than the goal, however many they are, and each
           weight goes to 0 with its strength.
Flat:      mean of the other nodes in play, each with the sign of its relation to the task; fades with eta, 0 by default.

A task also earns for other tasks that it supports, and is charged for those that it conflicts with; what it earns itself adds to w in the bound. Facts appear nowhere here: they only predict.
Which readout uses what is said in `readouts.py` and `baselines.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rag_graph.reward.graph_tensors import SIGNS, GraphTensors, katz_credit
from rag_graph.reward.scores import task_mask


class Worth(NamedTuple):
    """What nodes pay in score units: the sum of values * weights is the reward."""

    values: Tensor  # [B, N] in [-1, 1]
    weights: Tensor  # [B, N]
    gates: Tensor  # [B, N] in [0, 1]


def aggregate(scores: Tensor, graph: GraphTensors, in_play: Tensor) -> Tensor:
    """Mix components into what they are part of. scores, in_play: [B, N] -> [B, N]."""
    if not len(graph.of_meaning["aggregate"]):
        return scores
    present = in_play.to(scores.dtype)
    return (scores + graph.push(scores * present, "aggregate")) / (1 + graph.push(present, "aggregate"))


def gate(scores: Tensor, graph: GraphTensors, in_play: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pass scores [B, N] through their prerequisites.

    Returns:
        gated scores q [B, N], exactly 0 where a strict prerequisite (g = 1) is 0; the gates f [B, N], 1 without prerequisites.
    """
    factors = torch.ones_like(scores)
    gated = scores
    for level in graph.gate_levels:
        strength = graph.strength[level.edges]
        counts = level.valid if in_play is None else level.valid & in_play[..., level.sources]
        passed = torch.where(counts, 1 - strength + strength * gated[..., level.sources], 1.0).prod(-1)  # [B, n]
        factors = factors * torch.cat([passed, torch.ones_like(passed[..., :1])], -1)[..., level.slot]
        gated = scores * factors
    return gated, factors


def goal_weights(graph: GraphTensors, tasks: Tensor) -> Tensor:
    """[B, N] the goal weight of each episode's task, 0 elsewhere. tasks: int64 [B], node position of each episode's task."""
    return graph.goal * task_mask(tasks, len(graph.nodes))


def own_goal(filled: Tensor, graph: GraphTensors, tasks: Tensor) -> Worth:
    """The goal of each episode's task alone."""
    return Worth(filled, goal_weights(graph, tasks), torch.ones_like(filled))


def signs_to_task(graph: GraphTensors, tasks: Tensor) -> Tensor:
    """[B, N] sign of each node's relations to the episode's task; +1 where the file relates them by none."""
    at = task_mask(tasks, len(graph.nodes)).to(graph.goal.dtype)
    ones = torch.ones_like(graph.strength)
    total = torch.stack([sign * graph.pull(at, meaning, ones) for meaning, sign in SIGNS.items()]).sum(0)
    return torch.where(total < 0, -1.0, 1.0)


def flat_weights(graph: GraphTensors, tasks: Tensor) -> Tensor:
    """[B, N] an equal share of 1 for each node in play that is not the episode's goal, with the sign of its relation to the task."""
    others = graph.in_play(tasks) & (goal_weights(graph, tasks) == 0)
    return signs_to_task(graph, tasks) * _evenly(others)


def _evenly(nodes: Tensor) -> Tensor:
    """[B, N] that sum to 1 over the nodes, bool [B, N]."""
    return nodes / nodes.sum(-1, keepdim=True).clamp(min=1)


def opened(
    graph: GraphTensors,
    tasks: Tensor,
    gates: Tensor,
    damping: float,
    steps: int | None = None,
    full: Tensor | None = None,
) -> Tensor:
    """[B, N] in [0, 1]: the share of a node's credit for what it supports that comes through the gates [B, N] of this episode.

    Args:
        full: [B, N] that credit with all gates open, where it is known already.
    """
    goals = goal_weights(graph, tasks)
    if full is None:
        full = katz_credit(goals, graph, damping, steps=steps) - goals
    through = katz_credit(goals, graph, damping, gates, steps) - goals
    return torch.where(full > 0, through / full.clamp(min=1e-12), 1.0)


def rules(
    filled: Tensor, graph: GraphTensors, tasks: Tensor, eta: Tensor | float, damping: float, steps: int | None = None
) -> Worth:
    """The reward of scores without gaps [B, N] by the rules of the graph; see above. tasks: int64 [B]."""
    in_play, is_task = graph.in_play(tasks), task_mask(tasks, len(graph.nodes))
    goal = goal_weights(graph, tasks)
    gated, gates = gate(aggregate(filled, graph, in_play), graph, in_play)
    goals = torch.cat([goal, graph.goal[None]])  # each episode's own goal, and last all goals together
    earned = katz_credit(goals, graph, damping, steps=steps) - goals
    through = torch.where(is_task, 1.0, opened(graph, tasks, gates, damping, steps, earned[:-1]))
    credit = torch.where(is_task, earned[-1], earned[:-1]) * in_play
    charge = (
        torch.where(is_task, graph.pull(graph.goal, "penalty"), graph.pull(goal + earned[:-1], "penalty")) * in_play
    )
    # What the answer itself earns, for its own goal and for those it supports, is not outweighed by the others.
    own = (goal + credit * is_task).sum(-1, keepdim=True)
    others = (torch.where(is_task, 0.0, credit) + charge).sum(-1, keepdim=True)
    own = torch.where(own > 0, own, 1.0)
    bound = own / (own + others)
    credit = torch.where(is_task, credit, bound * credit)
    charge = bound * charge
    flat = eta * flat_weights(graph, tasks)
    pays = (goal + credit) * gated * through + (flat - charge) * filled
    weights = goal + credit + charge + flat.abs()
    return Worth(torch.where(weights > 0, pays / weights.clamp(min=1e-12), 0.0), weights, gates)


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
    return weights * graph.in_play(tasks)


def expected_utility(filled: Tensor, graph: GraphTensors, tasks: Tensor) -> Worth:
    """GEAR (arXiv 2606.03361): signed utilities of the events that bear on the goal, behind fixed gates, divided by their total size, which does
    not depend on what was observed. `bounds` count as gates here, other facts as utilities: GEAR knows no difference."""
    is_task = task_mask(tasks, len(graph.nodes))
    chosen, source, target = graph.ends("bound")
    factors = torch.where(graph.in_play(tasks)[:, source], 1 - graph.strength[chosen] * (1 - filled[:, source]), 1.0)
    bounds = torch.zeros_like(filled).index_add(-1, target, factors.clamp(min=1e-12).log()).exp()
    gated, gates = gate(aggregate(filled, graph, graph.in_play(tasks)) * bounds, graph, graph.in_play(tasks))
    bearing = _signed_pull(graph, is_task.to(graph.goal.dtype)) * graph.in_play(tasks)
    utility = torch.where(is_task, goal_weights(graph, tasks), bearing)
    # What indicates the goal lies behind what bounds it, as what supports it does behind its gate; no gate waives what speaks against it.
    indicates = graph.pull(is_task.to(graph.goal.dtype), "indication") > 0
    behind = torch.where(indicates, (bounds * is_task).sum(-1, keepdim=True), 1.0)
    through = opened(graph, tasks, gates, 1.0) * behind
    signed = gated * torch.where(is_task, 1.0, through) * utility.sign()
    return Worth(signed, utility.abs() / utility.abs().sum(-1, keepdim=True).clamp(min=1e-12), gates * bounds)


def _signed_pull(graph: GraphTensors, values: Tensor) -> Tensor:
    return torch.stack([sign * graph.pull(values, meaning) for meaning, sign in SIGNS.items()]).sum(0)
