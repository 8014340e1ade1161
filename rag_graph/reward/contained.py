"""Is a rule applied twice? Where a goal's own score already falls with what a rule charges for, the rule charges it a second time.

For each rule from a criterion x to a goal task y, from the episodes of that task in which both were observed:

    gate           y = c (1 - gamma (1 - x)):  gamma is the share of the goal that is already missing where x = 0
    credit         y = a + slope x:            what the goal already gains from x = 0 to x = 1
    penalty        y = a + slope x:            what it already loses, -slope

The gate's line is y = (c - c gamma) + c gamma x, so all three are least squares of y on x: gamma is the slope over the value at x = 1.
x and y are centred within each update, so that what improves both from update to update is no slope. The standard error treats an update as one
cluster (Liang & Zeger 1986), for the answers to one prompt are alike; that of gamma follows by the delta method. The intervals are 95% by Student's t
with the number of updates less 1, of one look: they are not corrected for looking again after every update.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.proposal import Proposal
from rag_graph.graph.spec import Semantics
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.scores import Scores

FACT_OF: dict[Semantics, str] = {"gate": "bounds", "credit": "indicates", "penalty": "indicates_low"}
"""The fact that says what a goal already contains of a rule."""
SIDE = 30
"""Episodes on each side of x = 1/2; or twice as many in all whose x spread by LEAST_SPREAD."""
LEAST_SPREAD = 0.1
"""Standard deviation of x within updates."""
LEAST_UPDATES = 10
SHARE = 0.5
"""Of a rule's strength; a goal that surely contains more of it contains the rule."""


class ContainedRules(nn.Module):
    """Running sums of every rule between a criterion and a goal task; O(B E) an update. Holds all of its state in buffers."""

    sums: Tensor  # float64 [11, R], see `update`

    def __init__(self, graph: AuxiliaryGraph, tensors: GraphTensors) -> None:
        super().__init__()
        is_criterion = [kind == "criterion" for kind in graph.kinds.values()]
        rules: list[tuple[int, Semantics]] = []
        for meaning in FACT_OF:
            chosen, source, target = (part.tolist() for part in tensors.ends(meaning))
            ends = zip(chosen, source, target, strict=True)
            rules += [(e, meaning) for e, j, i in ends if is_criterion[j] and float(tensors.goal[i]) > 0]
        rules.sort()
        self.meanings = [meaning for _, meaning in rules]
        self.num_edges = len(tensors.strength)
        edges = torch.tensor([e for e, _ in rules], dtype=torch.long)
        constants = {
            "edges": edges,
            "source": tensors.edge_index[0, edges],
            "target": tensors.edge_index[1, edges],
            "strength": tensors.strength[edges].double(),
            "is_gate": torch.tensor([meaning == "gate" for meaning in self.meanings], dtype=torch.bool),
            "sign": torch.tensor([-1.0 if meaning == "penalty" else 1.0 for meaning in self.meanings]).double(),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("sums", torch.zeros(11, len(rules), dtype=torch.float64))

    edges: Tensor
    source: Tensor
    target: Tensor
    strength: Tensor
    is_gate: Tensor
    sign: Tensor

    @torch.no_grad()
    def update(self, scores: Scores) -> None:
        """Take in the episodes of an update; reserved goals are not among the scores of a batch, and do not count."""
        seen = scores.observed.index_select(1, self.source) & scores.observed.index_select(1, self.target)
        both, filled = seen.double(), scores.filled
        x, y = filled.index_select(1, self.source).double(), filled.index_select(1, self.target).double()
        count = both.sum(0)
        dx, dy = (both * (value - (value * both).sum(0) / count.clamp(min=1)) for value in (x, y))
        xx, xy, yy = (dx * dx).sum(0), (dx * dy).sum(0), (dy * dy).sum(0)
        high = (both * (x >= 0.5)).sum(0)
        clusters = (count > 1).double()
        new = [count, (x * both).sum(0), (y * both).sum(0), xx, xy, yy, xy * xy, xy * xx, xx * xx, high, clusters]
        self.sums = self.sums + torch.stack(new)

    def estimates(self) -> tuple[Tensor, Tensor]:
        """(share or slope that speaks for a rule already contained, half of its 95% interval), float64 [R] each; NaN: too little is known.

        Of a gate it is gamma, in [0, 1] if the goal is a gated score; of credit the slope of y on x, and of a penalty its negative.
        """
        count, sum_x, sum_y, xx, xy, yy, xy2, xyxx, xx2, high, updates = self.sums
        slope = xy / xx
        # Sum over updates of the squared score of least squares, (xy_u - slope xx_u)^2, expanded.
        meat = (xy2 - 2 * slope * xyxx + slope**2 * xx2).clamp(min=0)
        variance = meat / xx**2 * updates / (updates - 1)
        below = 1 - sum_x / count
        top = sum_y / count + slope * below
        of_top = (yy - slope * xy).clamp(min=0) / count**2 + below**2 * variance
        share = slope / top
        of_share = (variance - 2 * share * below * variance + share**2 * of_top).clamp(min=0) / top**2
        value = torch.where(self.is_gate, share, self.sign * slope)
        half = torch.where(self.is_gate, of_share, variance).sqrt() * _student_95(updates - 1)
        sides = torch.minimum(high, count - high) >= SIDE
        spread = (count >= 2 * SIDE) & (xx >= count * LEAST_SPREAD**2)
        known = (sides | spread) & (updates >= LEAST_UPDATES) & (xx > 0) & ((top > 0) | ~self.is_gate)
        return torch.where(known, value, torch.nan), torch.where(known, half, torch.nan)

    def remaining(self, strength: Tensor) -> Tensor:
        """[E] what is left of each contained rule: with what the goal contains it makes up the rule as stated."""
        value, _ = self.estimates()
        stated = strength[self.edges].double()
        left = torch.where(self.is_gate, (stated - value) / (1 - value).clamp(min=1e-6), stated - value).clamp(0, 1)
        left = torch.where(self.contained[self.edges], left, stated).to(strength.dtype)
        return strength.index_copy(0, self.edges, left)

    @property
    def contained(self) -> Tensor:
        """bool [E]: rules of which the goal surely contains at least the share SHARE of their strength (in the file) already."""
        value, half = self.estimates()
        sure = (value - half >= SHARE * self.strength) & (self.strength > 0)
        found = torch.zeros(self.num_edges, device=sure.device).index_add(0, self.edges, sure.float())
        return found > 0

    def proposals(self, graph: AuxiliaryGraph) -> list[Proposal]:
        """A proposal for each rule that is contained; the surest first."""
        value, half = self.estimates()
        contained = self.contained[self.edges]
        found: list[tuple[float, Proposal]] = []
        for rule in contained.nonzero().flatten().tolist():
            edge = graph.spec.edges[int(self.edges[rule])]
            middle, wide, count = float(value[rule]), float(half[rule]), int(self.sums[0, rule])
            meaning = self.meanings[rule]
            most = 1.0 if meaning == "gate" else math.inf  # a share; a steep line may say more
            number = " ".join(f"{min(most, part):.2f}" for part in (middle, middle - wide, middle + wide))
            number = "{} [{}, {}]".format(*number.split())
            falls = {
                "gate": f"lower by the share {number} where `{edge.source}` fails; the rule charges it a second time",
                "credit": f"higher by {number} where `{edge.source}` is 1 and not 0; the rule pays it a second time",
                "penalty": f"lower by {number} where `{edge.source}` is 1 and not 0; the rule charges it a second time",
            }[meaning]
            text = (
                f"the goal's own score is already {falls}, strength {edge.strength:g} ({count} episodes): "
                f"remove it, make it the fact `{FACT_OF[meaning]}`, or set reward.contained_rules: leave_out"
            )
            proposal = Proposal("contained", edge.source, edge.target, edge.relation, FACT_OF[meaning], text)
            found.append((middle - wide, proposal))
        return [proposal for _, proposal in sorted(found, key=lambda pair: -pair[0])]


def _student_95(freedom: Tensor) -> Tensor:
    """The 97.5% quantile of Student's t, to .004 from 9 degrees of freedom on (Abramowitz & Stegun 1964, 26.7.5); a torch function, for vmap."""
    z = 1.959963984540054
    v = freedom.clamp(min=1)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / v + second / v**2
