"""How far one more step on an episode would move the policy along the gradient of a held-out objective.

    kappa_b = <grad log pi(y_b), v>,   v = grad mean_h A_h log pi(y_h) over held-out episodes h, |v| = 1

by central differences: two forward passes with the weights moved by +eps v and -eps v. The meta-gradient of a reward's parameters is
sum_b kappa_b dR_b (LIRPG, Zheng et al. 2018, arXiv 1804.06459).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rag_graph.errors import TrainingError
from rag_graph.ppo.engine import Engine, Sequences

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
    if any(weight.dtype in (torch.bfloat16, torch.float16) for weight in weights):
        raise TrainingError(
            "meta_gradient moves the weights by less than half precision can hold. Load the policy in float32 (bf16 autocast is fine)."
        )
    gradient: list[Tensor | None] = [None] * len(weights)
    with torch.enable_grad():
        for rows, logprobs in _chunks(engine, queries, responses, known):
            mine = torch.tensor([float(advantages[known.index(row)]) for row in rows], device=logprobs.device)
            try:
                found = torch.autograd.grad((mine * logprobs).sum() / len(known), weights, allow_unused=True)
            except RuntimeError as error:
                raise TrainingError(
                    f"the gradient of the held-out goal cannot be taken: {error}. With gradient checkpointing, set "
                    "gradient_checkpointing_kwargs={'use_reentrant': False}."
                ) from None
            gradient = [
                new if old is None else old if new is None else old + new
                for old, new in zip(gradient, found, strict=True)
            ]
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
                total = torch.zeros(len(queries), dtype=engine.precision, device=engine.accelerator.device)
                for rows, logprobs in _chunks(engine, queries, responses, list(range(len(queries)))):
                    total[rows] = logprobs
            moved.append(total)
    finally:
        with torch.no_grad():
            for weight, start in zip(weights, kept, strict=True):
                weight.copy_(start)
    kappa: list[float] = ((moved[0] - moved[1]) / (2 * step)).tolist()
    return kappa


def _chunks(
    engine: Engine, queries: Sequences, responses: Sequences, rows: list[int]
) -> Iterator[tuple[list[int], Tensor]]:
    """(rows, log-probability of each row's response) in chunks that fit."""
    size = engine.args.per_device_train_batch_size
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        tokens = engine.tokens(part, queries, responses)
        logprobs = engine.bare.policy_forward(engine.bare.policy, tokens, engine.temperature)[0]
        yield part, logprobs.sum(1)
