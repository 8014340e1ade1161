"""What the graph itself predicts: each node's score from the nodes that bear on it, with strengths fitted to the data (MAP).

    s_hat_i = (c_i + sum_j w_ji (x_j - mu_j)) prod_j (1 - gamma_ji (1 - x_j))

Only facts count. The sum runs over `indicates` (w >= 0) and `indicates_low` (w <= 0), the product over `bounds`. x_j is the observed
score, or what this same model predicts where there is none. c_i is the node's competence so far, the least-squares level of its
observed scores behind open gates; mu_j the running mean. w and gamma start at the file's strengths and are pulled towards them
by (kappa / n_i) |w - w0|^2, n_i observations of the target: without data the file speaks, with data it yields. kappa is PULL.

Gates that the file does not state are discovered here: every criterion in play is a candidate with gamma = 0 and a pull
SPARSITY / sqrt(n_i) towards 0 (lasso, Tibshirani 1996) that only evidence of multiplicative structure overcomes. A linear model has no
such term: to it a gate looks like support.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.graph_tensors import FACT_SIGNS, GraphTensors
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import HORIZON, RunningMeans

LINEAR = {meaning: sign for meaning, sign in FACT_SIGNS.items() if meaning != "bound"}
SWEEPS = 2
"""Times that missing scores are predicted from each other: a path of two relations is followed."""
PULL = 1.0
"""kappa: the file counts as much as one observation of the target."""
SPARSITY = 0.1
"""Pull of a candidate gate. With it spurious gates stay below .15 at 512 episodes, and a true one passes .5 (decision 0006)."""


class StructuralPrior(RunningMeans):
    """
    Args:
        discover: also fit candidate gates from every criterion onto each goal task in whose episodes it is scored.
    """

    level_total: Tensor
    level_weight: Tensor

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors, discover: bool) -> None:
        super().__init__(len(tensors.nodes))
        size = len(tensors.nodes)
        linear = [(e, sign) for meaning, sign in LINEAR.items() for e in tensors.of_meaning[meaning].tolist()]
        edges = torch.tensor([e for e, _ in linear], dtype=torch.long)
        source, target = tensors.edge_index[:, edges]
        # Several indications of one node share its score between them.
        incoming = torch.zeros(size).index_add(0, target, tensors.strength[edges])
        start = tensors.strength[edges] / incoming[target].clamp(min=1)
        self.slope = nn.Parameter(start.clone())
        gates = tensors.of_meaning["bound"]
        pairs = list(zip(*tensors.edge_index[:, gates].tolist(), strict=True))
        self.num_stated = len(pairs)
        self.candidates = tensors.criteria_of_goals(graph, pairs) if discover else []
        pairs += self.candidates
        stated = torch.cat([tensors.strength[gates], torch.zeros(len(self.candidates))])
        self.gamma = nn.Parameter(stated.clone())
        constants = {
            "sign": torch.tensor([sign for _, sign in linear]), "source": source, "target": target, "slope_of_file": start,
            "gate_source": torch.tensor([j for j, _ in pairs], dtype=torch.long),
            "gate_target": torch.tensor([i for _, i in pairs], dtype=torch.long), "gamma_of_file": stated,
        }  # fmt: skip
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("gated", *_grouped([i for _, i in pairs], size), persistent=False)
        self.register_buffer("level_total", torch.full((size,), 0.5))
        self.register_buffer("level_weight", torch.ones(size))

    sign: Tensor
    source: Tensor
    target: Tensor
    slope_of_file: Tensor
    gate_source: Tensor
    gate_target: Tensor
    gamma_of_file: Tensor
    gated: Tensor  # int64 [N, k] the gates of each node, padded with the number of gates

    def parts(self, filled: Tensor) -> tuple[Tensor, Tensor]:
        """(linear part without competence, gates), each [B, N], at scores without gaps."""
        moved = (filled - self.means)[..., self.source] * (self.slope * self.sign)
        linear = torch.zeros_like(filled).index_add(-1, self.target, moved)
        if not len(self.gate_source):
            return linear, torch.ones_like(filled)
        each = 1 - self.gamma * (1 - filled[..., self.gate_source].clamp(0, 1))
        padded = torch.cat([each, torch.ones_like(each[..., :1])], -1)
        return linear, padded[..., self.gated].prod(-1)

    def forward(self, scores: Scores) -> Tensor:
        filled = torch.where(scores.observed, scores.values, self.means)
        predicted = filled
        for _ in range(SWEEPS):
            linear, gates = self.parts(filled)
            predicted = (self.level_total / self.level_weight + linear) * gates
            filled = torch.where(scores.observed, scores.values, predicted.clamp(0, 1))
        return predicted

    @torch.no_grad()
    def observe(self, scores: Scores, weights: Tensor | None = None) -> None:
        super().observe(scores, weights)
        linear, gates = self.parts(torch.where(scores.observed, scores.values, self.means))
        seen = scores.observed.to(gates.dtype)
        total = self.level_total + (torch.where(scores.observed, scores.values - linear * gates, 0.0) * gates).sum(0)
        weight = self.level_weight + (gates**2 * seen).sum(0)
        keep = (HORIZON / weight).clamp(max=1)
        self.level_total, self.level_weight = total * keep, weight * keep

    def penalty(self) -> Tensor:
        stated = self.gate_target[: self.num_stated]
        pull = ((self.slope - self.slope_of_file) ** 2 / self.weight[self.target]).sum()
        pull_gate = ((self.gamma - self.gamma_of_file)[: self.num_stated] ** 2 / self.weight[stated]).sum()
        # The slope of a loss over n noisy scores at gamma = 0 is of the order of 1 / sqrt(n): a candidate must beat that.
        found = (self.gamma[self.num_stated :] / self.weight[self.gate_target[self.num_stated :]].sqrt()).sum()
        return PULL * (pull + pull_gate) + SPARSITY * found

    @torch.no_grad()
    def project(self) -> None:
        self.gamma.clamp_(0, 1)
        self.slope.clamp_(min=0)


def _grouped(targets: list[int], size: int) -> tuple[Tensor]:
    of_node: list[list[int]] = [[] for _ in range(size)]
    for gate, target in enumerate(targets):
        of_node[target].append(gate)
    width = max((len(gates) for gates in of_node), default=0)
    return (torch.tensor([gates + [len(targets)] * (width - len(gates)) for gates in of_node], dtype=torch.long),)
