"""What it is worth to ask for a score: how much less uncertain an episode's reward is expected to be.

The posterior of a goal y given the scores S that are seen is that of the default imputer (`imputers/evidence.py`): criteria z that are missing are normal with
covariance C = Cov(z | S) (`imputers/gaussian.py`), and y = f(z) + noise with f the regression averaged by evidence. With b = E[df/dz | S], the slope of f in the
mean over what the missing criteria may be, and by Stein's lemma Cov(f(z), z) = C b:

    of criterion j:   E (C b)_j^2 / C_jj                    variance of y that is expected to go if z_j is seen
    of the goal:      v = b C b + x S x + noise             all of it: x the columns of the regression, S the covariance of its coefficients
                      + horizon x S M S x / v               and what the goal teaches about other episodes, M = mean of x x^T over the batch

The slope b is not known. E is over the posterior of the coefficients: with few goals a criterion counts by what it may say, so that what looks worthless is not left unseen for that
reason alone. The last term is by how much the mean variance of other episodes' goals falls (Cohn, Ghahramani & Jordan 1996), times the number of them that profit. Criteria are valued in the
order in which they would be bought greedily, each given those before: of two that say the same, the second is worth little. Nothing here depends on the scores that are bought, so
probabilities made from it are fixed before anything is drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.evidence import EvidenceImputer
from rag_graph.reward.scores import Scores

DRAWS = 8
"""Values of the missing criteria over which the slope is averaged; pairs of opposite ones, the same for all episodes."""
SLOPES = 8
"""Slopes that are drawn from the posterior of the coefficients; pairs of opposite ones."""
HORIZON = 1.0
"""Batches whose episodes a goal teaches about."""
LEAST = 1e-6
"""Variance below which a criterion counts as known."""


@torch.no_grad()
def values_of_scores(
    imputer: EvidenceImputer, shown: Scores, graph: GraphTensors, price: Tensor, horizon: float
) -> Tensor:
    """[B, N] expected reduction of the variance of an episode's goal, in score units, by each score that is not seen; 0 for others.

    Args:
        price: [B, N] above 0 where a score is for sale, else 0: nothing else is valued, but the goal.
        horizon: number of other episodes of its task that a goal teaches about.
    """
    criteria, slot = imputer.criteria, imputer.criteria.slot[shown.tasks]
    z, observed = criteria.standard(shown, imputer.base)
    filled, covariance = criteria.conditional(z, observed, shown.tasks)
    valid = criteria.valid[slot]
    both = valid[:, :, None] & valid[:, None]
    covariance = torch.where(both, covariance, 0.0)
    slopes, columns, pool = _slopes(imputer, shown, filled, observed, covariance, graph)
    unit, slope = imputer.unit[slot].square(), slopes.mean(0)
    of_data = torch.einsum("bi,bij,bj->b", slope, covariance, slope).clamp(min=0)
    taught = torch.einsum("bpq,bq->bp", imputer.spread[slot], columns)
    total = of_data + (columns * taught).sum(-1).clamp(min=0) + imputer.noise[slot]
    teaches = torch.einsum("bp,bpq,bq->b", taught, pool[slot], taught) / total
    values = torch.zeros_like(shown.values)
    node = torch.where(valid, criteria.columns[slot], values.shape[-1])
    offered = torch.cat([price, price[:, :1] * 0], -1).gather(-1, node)
    gains = _greedy_gains(covariance, slopes, torch.where(observed, 0.0, offered))
    values = torch.cat([values, values[:, :1]], -1).scatter(-1, node, gains * unit[:, None])[:, :-1]
    return torch.where(shown.is_task, ((total + horizon * teaches) * unit)[:, None], values)


def _slopes(
    imputer: EvidenceImputer, shown: Scores, filled: Tensor, observed: Tensor, covariance: Tensor, graph: GraphTensors
) -> tuple[Tensor, Tensor, Tensor]:
    """([R, B, k] slopes of the expected goal in the criteria, one for each draw of the coefficients, [B, p] mean columns of the regression, [T, p, p] mean of x x^T by task), over what the missing
    criteria may be."""
    size, width = filled.shape
    generator = torch.Generator().manual_seed(0)
    half = torch.randn((DRAWS // 2, 1, width), generator=generator)
    factor = torch.linalg.cholesky(covariance + LEAST * torch.eye(width))
    away = torch.einsum("bij,sbj->sbi", factor, torch.cat([half, -half]).expand(-1, size, -1))
    point = (filled + torch.where(observed, 0.0, away)).reshape(-1, width)
    values, vectors = torch.linalg.eigh(imputer.spread.double())
    root = (vectors * values.clamp(min=0).sqrt()[:, None]).to(imputer.spread.dtype)  # [T, p, p]
    apart = torch.einsum("tpq,rtq->rtp", root, torch.randn((SLOPES // 2, *root.shape[:2]), generator=generator))
    drawn = imputer.weights + torch.cat([apart, -apart])
    tasks = shown.tasks.repeat(DRAWS)
    slot = imputer.criteria.slot[tasks]
    with torch.enable_grad():
        point = point.detach().requires_grad_()
        raw = imputer.criteria.raw(point, tasks, imputer.base)
        columns = imputer.columns(point, imputer.facts.directions(point, point, raw, graph, slot), slot)
        slopes = [
            torch.autograd.grad((columns * weights[slot]).sum(), point, retain_graph=True)[0] for weights in drawn
        ]
    columns = columns.detach()
    outer = torch.zeros_like(imputer.spread).index_add(0, slot, columns[:, :, None] * columns[:, None])
    rows = torch.bincount(slot, minlength=len(outer)).clamp(min=1)
    each = torch.where(imputer.criteria.valid[slot], torch.stack(slopes), 0.0).view(len(slopes), DRAWS, size, width)
    return each.mean(1), columns.view(DRAWS, size, -1).mean(0), outer / rows[:, None, None]


def _greedy_gains(covariance: Tensor, slopes: Tensor, price: Tensor) -> Tensor:
    """[B, k] what each criterion that is for sale takes from the variance of slope . z, given those that say more for their price; mean over slopes [R, B, k].
    price: [B, k], 0: not for sale."""
    gains, left, open_ = torch.zeros_like(price), covariance.clone(), price > 0
    rows = torch.arange(len(price))
    for _ in range(int(open_.sum(-1).max()) if len(price) else 0):
        variance = left.diagonal(dim1=-2, dim2=-1)
        across = torch.einsum("bij,rbj->rbi", left, slopes).square().mean(0)
        gain = torch.where(open_ & (variance > LEAST), across / variance.clamp(min=LEAST), 0.0)
        best = torch.where(open_, gain / price.clamp(min=1e-12), -1.0).argmax(-1)
        gains[rows, best] = torch.where(open_[rows, best], gain[rows, best], gains[rows, best])
        known = left[rows, best]
        left = left - known[:, :, None] * known[:, None] / variance[rows, best].clamp(min=LEAST)[:, None, None]
        open_ = open_ & ~torch.nn.functional.one_hot(best, price.shape[-1]).bool()
    return gains
