"""How far one more step on an episode would move the policy along the gradient of a held-out objective.

    kappa_b = <grad log pi(y_b), v>,   v = grad mean_h A_h log pi(y_h) over held-out episodes h, |v| = 1

by central differences: two forward passes with the weights moved by +eps v and -eps v. The meta-gradient of a reward's parameters is
sum_b kappa_b dR_b (LIRPG, Zheng et al. 2018, arXiv 1804.06459).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rag_graph.training.actor_critic import Tokens
from rag_graph.training.engine import Engine, Sequences

STEP = 1e-2


def influence(
    engine: Engine, queries: Sequences, responses: Sequences, held_out: Sequence[float | None], step: float = STEP
) -> list[float]:
    """kappa [B] of each episode; zeros where fewer than two held-out scores are known or they do not differ. The weights are left as
    they were, bit for bit.

    Args:
        held_out: the held-out score of each episode, None where there is none.
        step: eps, norm of the move of all weights together.
    """
    known = [row for row, value in enumerate(held_out) if value is not None]
    goals = torch.tensor([float(held_out[row] or 0.0) for row in known])
    advantages = goals - goals.mean() if len(known) else goals
    if len(known) < 2 or not bool(advantages.abs().max() > 0):
        return [0.0] * len(queries)
    policy = engine.bare.policy
    weights = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        total = torch.zeros((), device=engine.accelerator.device)
        for rows, logprobs in _chunks(engine, queries, responses, known):
            mine = torch.tensor([float(advantages[known.index(row)]) for row in rows], device=logprobs.device)
            total = total + (mine * logprobs).sum() / len(known)
        gradient = torch.autograd.grad(total, weights, allow_unused=True)
    norm = torch.sqrt(
        sum((g.double().square().sum() for g in gradient if g is not None), torch.zeros((), dtype=torch.float64))
    )
    if not norm > 0:
        return [0.0] * len(queries)
    kept = [weight.detach().clone() for weight in weights]
    moved = []
    try:
        for sign in (1.0, -1.0):
            with torch.no_grad():
                for weight, start, along in zip(weights, kept, gradient, strict=True):
                    if along is not None:
                        weight.copy_(start + sign * step * along / norm)
                found = torch.zeros(len(queries), device=engine.accelerator.device)
                for rows, logprobs in _chunks(engine, queries, responses, list(range(len(queries)))):
                    found[rows] = logprobs
            moved.append(found)
    finally:
        with torch.no_grad():
            for weight, start in zip(weights, kept, strict=True):
                weight.copy_(start)
    kappa: list[float] = ((moved[0] - moved[1]) / (2 * step)).tolist()
    return kappa


def _chunks(
    engine: Engine, queries: Sequences, responses: Sequences, rows: list[int]
) -> list[tuple[list[int], Tensor]]:
    """(rows, log-probability of each row's response) in chunks that fit."""
    size, found = engine.args.per_device_train_batch_size, []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        tokens = Tokens.of([queries[row] for row in part], [responses[row] for row in part], engine.accelerator.device)
        logprobs = engine.bare.policy_forward(engine.bare.policy, tokens, engine.temperature)[0]
        found.append((part, logprobs.sum(1)))
    return found
