"""Reinforcement learning of the graph: strengths move by what raises J, the goal score on reserved episodes.

| method | evidence about a strength | extra cost |
|---|---|---|
| none (the default) | the same as of alignment, for proposals only: no strength moves | none |
| alignment | mean product of the standardised scores of both ends; at a goal, on reserved episodes only. The covariance proxy of OL-AUX (Lin et al. 2019, NeurIPS) | none |
| meta_gradient | dJ/dg = sum_b kappa_b dR_b/dg through readout and encoder (LIRPG, Zheng et al. 2018, eq. 7); kappa_b is how far one more step on episode b would move the policy along the gradient of J | one backward and two forward passes of the policy |

A step is g += RATE * mean / rms of the evidence, clipped to [0, 1]; a strength with `tuned: false` never moves. A strength never
changes its sign: what looks like the opposite relation becomes a proposal, and so does a pair that the file does not relate.
Alignment is linear: it cannot tell a gate from a support. Discovered gates come from `rag_graph.reward.imputers.prior`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rag_graph.config import GraphLearningConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.proposal import Proposal
from rag_graph.reward.graph_tensors import SIGNS
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.scores import Scores

RATE = 0.02
"""Step of a strength per update: where the evidence always agrees, a strength crosses [0, 1] in 50 updates."""
MEMORY = 0.95
"""Of the running means of the evidence, per update: about twenty updates."""
MIN_UPDATES = 20
MIN_T = 4.0
"""A proposal needs so many updates with evidence, and a mean so many standard errors from 0."""
MIN_CORRELATION = 0.1


class GraphLearner(nn.Module):
    """Moves strengths by evidence, except those that the file freezes. Holds all of its state in buffers."""

    mean: Tensor  # [E] running mean of the evidence
    square: Tensor  # [E] running mean of its square
    updates: Tensor  # [E] updates with evidence

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: GraphLearningConfig) -> None:
        super().__init__()
        self.warm_up = config.warm_up
        sign = torch.zeros(len(tensors.strength))
        for meaning, value in SIGNS.items():
            sign[tensors.of_meaning[meaning]] = value
        self.register_buffer("sign", sign, persistent=False)
        self.register_buffer("movable", torch.from_numpy(graph.tuned) & (sign != 0), persistent=False)
        for name in ("mean", "square", "updates"):
            self.register_buffer(name, torch.zeros(len(sign)))

    sign: Tensor
    movable: Tensor

    def step(self, strength: Tensor, evidence: Tensor, seen: Tensor) -> Tensor:
        """New strengths [E] from what speaks for more strength [E], where there is any (seen: bool [E])."""
        self.mean = torch.where(seen, MEMORY * self.mean + (1 - MEMORY) * evidence, self.mean)
        self.square = torch.where(seen, MEMORY * self.square + (1 - MEMORY) * evidence**2, self.square)
        self.updates = self.updates + seen.to(self.updates.dtype)
        moved = strength + RATE * self.mean / (self.square.sqrt() + 1e-8)
        ready = seen & self.movable & (self.updates > self.warm_up)
        return torch.where(ready, moved.clamp(0, 1), strength)


class Alignment(GraphLearner):
    """Evidence of an edge, and of every pair of a criterion and a goal task that the file does not relate."""

    pair_count: Tensor
    pair_sum: Tensor
    pair_square: Tensor

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors, config: GraphLearningConfig) -> None:
        super().__init__(graph, tensors, config)
        stated = [(j, i) for j, i in tensors.edge_index.T.tolist()]
        self.num_edges = len(stated)
        pairs = stated + tensors.criteria_of_goals(graph, stated)
        ends = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
        self.register_buffer("source", ends[:, 0], persistent=False)
        self.register_buffer("target", ends[:, 1], persistent=False)
        for name in ("pair_count", "pair_sum", "pair_square"):
            self.register_buffer(name, torch.zeros(len(pairs)))

    source: Tensor
    target: Tensor

    def evidence(self, standard: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Mean product over the episodes in which both ends were observed, [pairs], and whether there were any.

        Args:
            standard, observed: [B, N]; at the episode's goal, of reserved episodes only.
        """
        both = observed[:, self.source] & observed[:, self.target]
        product = torch.where(both, standard[:, self.source] * standard[:, self.target], 0.0)
        count = both.sum(0)
        found = product.sum(0) / count.clamp(min=1)
        seen = count > 0
        self.pair_count = self.pair_count + seen.to(found.dtype)
        self.pair_sum, self.pair_square = self.pair_sum + found, self.pair_square + found**2
        return found, seen

    def align(self, strength: Tensor, standard: Tensor, observed: Tensor) -> Tensor:
        """New strengths [E]."""
        found, seen = self.evidence(standard, observed)
        edges = slice(0, self.num_edges)
        return self.step(strength, self.sign * found[edges], seen[edges])

    def proposals(self, graph: AuxiliaryGraph) -> list[Proposal]:
        """Pairs whose evidence contradicts the file, or that the file lacks; the strongest first."""
        found: list[tuple[float, Proposal]] = []
        types = list(graph.relation_types.items())
        for pair in range(len(self.source)):
            count = float(self.pair_count[pair])
            if count < MIN_UPDATES:
                continue
            mean = float(self.pair_sum[pair]) / count
            variance = max(float(self.pair_square[pair]) / count - mean**2, 1e-12)
            t = mean / math.sqrt(variance / (count - 1))
            if abs(t) < MIN_T or abs(mean) < MIN_CORRELATION:
                continue
            source, target = graph.nodes[int(self.source[pair])], graph.nodes[int(self.target[pair])]
            evidence = f"mean correlation {mean:+.2f} over {count:.0f} updates, t = {t:+.1f}"
            looks = "supports" if mean > 0 else "conflicts"
            if pair >= self.num_edges:
                found.append((abs(t), Proposal("relation", source, target, "", looks, evidence)))
            elif float(self.sign[pair]) * mean < 0:
                name = types[int(graph.relation[pair])][0]
                found.append((abs(t), Proposal("flip", source, target, name, looks, evidence)))
        return [proposal for _, proposal in sorted(found, key=lambda pair: -pair[0])]


def with_reserved_goals(scores: Scores, goal: Tensor, reserved: Tensor, goal_weight: Tensor) -> Scores:
    """The scores in which a goal is known on reserved episodes only; a task without a goal weight [N] is no secret.

    Args:
        goal: [B], read where reserved; reserved: bool [B].
    """
    at = scores.is_task & (goal_weight > 0)
    values = torch.where(at, goal[:, None], scores.values)
    return scores._replace(values=values, observed=torch.where(at, reserved[:, None], scores.observed))
