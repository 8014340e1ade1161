"""The choice of passages as a random event, and the losses by which the encoder of queries learns it.

    p(z | x) = softmax_z(cos(q(x), v_z) / tau)        over the candidates of a query; v_z stay, q learns

Shapes: Q queries, K candidates each (padded, `mask` True where there is one), d dimensions, k chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rag_graph.retrieval.encoder import SentenceEncoder

ALIKE = 1e-3
"""Targets that differ by less are alike."""


class Candidates(NamedTuple):
    """What queries choose from."""

    queries: list[str]
    vectors: Tensor  # [Q, K, d]
    mask: Tensor  # [Q, K]

    @classmethod
    def of(cls, queries: Sequence[str], vectors: Sequence[NDArray[np.float32]]) -> Candidates:
        """Vectors of each query's candidates, at least one: [K_q, d]."""
        width, dimension = max(map(len, vectors)), vectors[0].shape[1]
        block, mask = torch.zeros(len(queries), width, dimension), torch.zeros(len(queries), width, dtype=torch.bool)
        for row, mine in enumerate(vectors):
            block[row, : len(mine)] = torch.from_numpy(mine)
            mask[row, : len(mine)] = True
        return cls(list(queries), block, mask)


def choice_logits(embedded: Tensor, candidates: Candidates, temperature: float) -> Tensor:
    """cos / tau, -inf where there is no candidate: [Q, d] -> [Q, K]."""
    logits = torch.einsum("qd,qkd->qk", embedded, candidates.vectors.to(embedded)) / temperature
    return logits.masked_fill(~candidates.mask.to(embedded.device), -torch.inf)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float, prior: Tensor | None = None) -> Tensor:
    """KL(softmax(targets / temperature + prior) || softmax(logits)), mean over queries.

    With the logits of a reference as `prior`, what is aimed at is the choice with the highest mean target less `temperature` times its KL to the choice of
    the reference, as the policy's reward is less its KL (Korbak et al. 2022, arXiv 2205.11275). So a weak teacher moves a good retriever little.

    Without a prior, a query whose targets are all alike teaches nothing and is left out: it would only flatten what was learned. With one it is drawn
    back to the prior.

    With targets = mean token log-likelihood of the reference given each passage: perplexity distillation (Atlas, Izacard et al. 2022,
    arXiv 2208.03299; REPLUG LSR, Shi et al. 2023, arXiv 2301.12652). With the reward of an answer given each passage: reward distillation.

    Args:
        logits, targets: [Q, K]; -inf where there is no candidate, NaN in targets where it was not measured.
        temperature: above 0, in units of the targets.
        prior: [Q, K] log-probabilities, up to a number for each query; None: all candidates alike.
    """
    targets = targets.to(logits)
    known = logits.isfinite() & targets.isfinite()
    spread = targets.masked_fill(~known, -torch.inf).amax(1) - targets.masked_fill(~known, torch.inf).amin(1)
    rows = (known.sum(1) > 1) & ((spread > ALIKE) | (prior is not None))
    if not rows.any():
        return logits.masked_fill(~known, 0.0).sum() * 0.0
    before = torch.zeros_like(targets) if prior is None else prior
    known, logits, aims = known[rows], logits[rows], (targets / temperature + before.to(logits))[rows]
    wanted = aims.masked_fill(~known, -torch.inf).softmax(1)
    found = logits.masked_fill(~known, -torch.inf).log_softmax(1).masked_fill(~known, 0.0)
    divergence: Tensor = (torch.special.xlogy(wanted, wanted) - wanted * found).sum(1)
    return divergence.mean()


def plackett_luce_log_prob(logits: Tensor, chosen: Tensor) -> Tensor:
    """log-probability [Q] of drawing `chosen` [Q, k] in this order without replacement (Plackett 1975; Luce 1959):
    sum_j [s_zj - log sum_{m not before j} exp s_m]. An entry of -1 draws nothing."""
    total = torch.zeros(len(logits), device=logits.device)
    left = _without_blanks(logits)
    for column in range(chosen.shape[1]):
        picked = chosen[:, column, None]
        drawn = picked[:, 0] >= 0
        step = left.log_softmax(1).gather(1, picked.clamp(min=0))[:, 0]
        total = total + torch.where(drawn, step, torch.zeros_like(step))
        taken = torch.zeros_like(left, dtype=torch.bool).scatter(1, picked.clamp(min=0), drawn[:, None])
        left = _without_blanks(left.masked_fill(taken, -torch.inf))
    return total


def _without_blanks(logits: Tensor) -> Tensor:
    """Zeros for rows in which nothing is left: a softmax of nothing would be NaN."""
    return torch.where(logits.isfinite().any(1, keepdim=True), logits, torch.zeros_like(logits))


def plackett_luce_draw(logits: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draw up to `size` candidates per query in order, by Gumbel perturbation: [Q, K] -> [Q, k], -1 where none is left."""
    uniform = torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-7)
    keys = logits.cpu() - (-uniform.log()).log()
    best, order = keys.sort(dim=1, descending=True, stable=True)
    return order.masked_fill(~best.isfinite(), -1)[:, :size]


def clipped_choice_loss(log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, cliprange: float) -> Tensor:
    """PPO's loss on the choice as one action (Schulman et al. 2017, eq. 7), with a ratio and a clip of its own: all [Q]."""
    ratio = (log_prob - old_log_prob).clamp(-20.0, 20.0).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - cliprange, 1 + cliprange) * advantages).mean()


def contrastive_loss(embedded: Tensor, gold: Tensor, temperature: float, same: Tensor | None = None) -> Tensor:
    """Cross-entropy of each query's own passage among those of all queries: in-batch negatives (Henderson et al. 2017, arXiv
    1705.00652). Both [Q, d].

    Args:
        same: [Q, Q] True where another query's passage is right as well and is no negative.
    """
    logits = embedded @ gold.to(embedded).T / temperature
    if same is not None:
        logits = logits.masked_fill(
            same.to(logits.device) & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device), -torch.inf
        )
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


class QueryLearner:
    """The encoder of queries with its optimizer (AdamW, gradients clipped to norm 1)."""

    def __init__(self, encoder: SentenceEncoder, learning_rate: float, temperature: float) -> None:
        self.encoder, self.temperature = encoder, temperature
        self.optimizer = torch.optim.AdamW(encoder.parameters(), lr=learning_rate, weight_decay=0.0)

    def logits(self, candidates: Candidates) -> Tensor:
        """[Q, K] with gradients."""
        return choice_logits(self.encoder.embed(candidates.queries), candidates, self.temperature)

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
            if norm.isfinite() and norm > 0:  # with momentum, a step of nothing moves all the same
                self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"encoder": dict(self.encoder.model.state_dict()), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.encoder.model.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])
