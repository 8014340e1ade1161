"""Criteria predict each other: for each task a normal distribution over the scores in play, fitted by expectation-maximisation.

All episodes teach it, also those without a goal (Little & Rubin 2019, ch. 11.2). In standard deviations from the running means:

    E: z_missing = m + S_mo S_oo^-1 (z_observed - m), and its covariance S_mm - S_mo S_oo^-1 S_om
    M: m = mean of z;  S = (scatter + covariances + PRIOR T) / (n + PRIOR)

T, towards which S is shrunk, has ones on the diagonal and one common correlation elsewhere (Ledoit & Wolf 2004, constant correlation), with the sign
of the facts: a criterion that indicates a low goal counts turned round.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import CLIP, RunningMeans

PRIOR = 60.0
"""Episodes that the common correlation counts for. Chosen on the development groups of human judgements (docs/log.md)."""
FAINT = 0.1
"""From this strength on a fact counts in full; below, what it says fades with it. Strengths count relative to the task's strongest fact."""
MOST_COLUMNS = 48
"""Criteria of a task at most, those that the file names first: an episode costs their number to the third power."""


class CriteriaGaussian(nn.Module):
    """
    Args:
        tensors: the graph. T tasks; k criteria in play at most, padded.
    """

    location: Tensor  # [T, k] m
    covariance: Tensor  # [T, k, k] S
    columns: Tensor  # int64 [T, k] node positions
    valid: Tensor  # bool [T, k]
    slot: Tensor  # int64 [N] row of a task, 0 for other nodes
    sign: Tensor  # [T, k] of the facts about the task, +1 without one

    def __init__(self, tensors: GraphTensors) -> None:
        super().__init__()
        size = len(tensors.nodes)
        tasks = tensors.applies.diagonal().nonzero().squeeze(-1)
        # A faint fact has its sign in part: a strength that goes to 0 goes to the sign of no fact.
        lean = {
            (i, j): 1 + (sign - 1) * min(1.0, float(tensors.strength[e]) / FAINT) for e, j, i, sign in tensors.facts()
        }
        chosen: list[list[int]] = []
        for task in tasks.tolist():
            usable = tensors.applies[task] & ~tensors.reads_references
            usable[task] = False
            found = usable.nonzero().squeeze(-1).tolist()
            chosen.append(sorted(found, key=lambda node: (task, node) not in lean)[:MOST_COLUMNS])
        width = max([1, *map(len, chosen)])
        padding = [columns + [0] * (width - len(columns)) for columns in chosen]
        slot = torch.zeros(size, dtype=torch.long)
        slot[tasks] = torch.arange(len(tasks))
        constants = {
            "tasks": tasks, "slot": slot, "columns": torch.tensor(padding, dtype=torch.long),
            "valid": torch.arange(width) < torch.tensor([[len(columns)] for columns in chosen]),
            "sign": torch.tensor([[lean.get((t, c), 1.0) for c in row] for t, row in zip(tasks.tolist(), padding, strict=True)]),
        }  # fmt: skip
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("location", torch.zeros(len(tasks), width))
        self.register_buffer("covariance", torch.eye(width).repeat(len(tasks), 1, 1))

    tasks: Tensor  # int64 [T]

    def standard(self, scores: Scores, base: RunningMeans) -> tuple[Tensor, Tensor]:
        """([B, k] standard deviations from the running mean, 0 where unobserved; bool [B, k] observed)."""
        slot = self.slot[scores.tasks]
        columns = self.columns[slot]
        return base.standardise(scores).gather(-1, columns).clamp(-CLIP, CLIP), scores.observed.gather(
            -1, columns
        ) & self.valid[slot]

    def raw(self, z: Tensor, tasks: Tensor, base: RunningMeans) -> Tensor:
        """[B, k] from standard deviations back to scores in [0, 1]."""
        columns = self.columns[self.slot[tasks]]
        return (base.means[columns] + base.deviations[columns] * z).clamp(0, 1)

    def fill(self, z: Tensor, observed: Tensor, tasks: Tensor) -> Tensor:
        """[B, k] without gaps: observed, or the conditional mean."""
        return self.conditional(z, observed, tasks)[0]

    def conditional(self, z: Tensor, observed: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
        """([B, k] without gaps, covariance [B, k, k] of what was filled in; 0 at observed ones), given what was observed."""
        slot = self.slot[tasks]
        return _conditional(z, observed, self.location[slot], self.covariance[slot])

    @torch.no_grad()
    def refit(self, scores: Scores, base: RunningMeans, sweeps: int = 1) -> None:
        """Some sweeps of expectation-maximisation over what is remembered, from where the last fit ended."""
        z, observed = self.standard(scores, base)
        slot, kind = self.slot[scores.tasks], torch.float64
        z = z.to(kind)
        rows = torch.zeros(len(self.tasks), dtype=kind).index_add(0, slot, torch.ones(len(slot), dtype=kind))
        none, width = rows == 0, z.shape[-1]
        count = rows.clamp(min=1)
        location, covariance = self.location.to(kind), self.covariance.to(kind)
        eye = torch.eye(width, dtype=kind)
        pairs = (self.sign[:, :, None] * self.sign[:, None]).to(kind)
        between = self.valid[:, :, None] & self.valid[:, None] & (eye == 0)
        for _ in range(sweeps):
            filled, extra = _conditional(z, observed, location[slot], covariance[slot])
            mean = torch.zeros_like(location).index_add(0, slot, filled) / count[:, None]
            apart = filled - mean[slot]
            scatter = torch.zeros_like(covariance).index_add(0, slot, apart[:, :, None] * apart[:, None] + extra)
            spread = scatter.diagonal(dim1=-2, dim2=-1).clamp(min=1e-9).sqrt()
            correlation = scatter / (spread[:, :, None] * spread[:, None]) * pairs
            common = torch.where(between, correlation, 0.0).sum((1, 2)) / between.sum((1, 2)).clamp(min=1)
            target = torch.where(between, common.clamp(0, 0.95)[:, None, None] * pairs, eye)
            new = (scatter + PRIOR * target) / (rows + PRIOR)[:, None, None]
            location = torch.where(none[:, None], location, mean)
            covariance = torch.where(none[:, None, None], covariance, new)
        self.location, self.covariance = location.to(self.location.dtype), covariance.to(self.covariance.dtype)


def _conditional(z: Tensor, observed: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """(z without gaps [B, k], covariance of what was filled in [B, k, k]), given what was observed."""
    both = observed[:, :, None] & observed[:, None]
    inner = torch.where(both, covariance, torch.diag_embed((~observed).to(z.dtype)))
    across = torch.where(observed[:, None], covariance, 0.0)  # [B, k, observed]
    gain = torch.linalg.solve(inner, across.transpose(1, 2)).transpose(1, 2)
    expected = mean + (gain @ torch.where(observed, z - mean, 0.0)[..., None])[..., 0]
    left = torch.where(~observed[:, :, None] & ~observed[:, None], covariance - gain @ across.transpose(1, 2), 0.0)
    return torch.where(observed, z, expected), left
