"""How well a reward ranks the answers to each prompt. Shapes: G prompts, K answers to each; rewards and goals are [G, K].

Equal rewards are a tie: it is broken at random, and what is reported is the mean over that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb
from scipy.stats import rankdata, t

from rag_graph.evaluation.statistics import Interval

Array = NDArray[np.float64]

DIGITS = 6
"""Rewards that agree in so many digits, in standard deviations, are equal: rows of a batch differ by rounding."""
KLS = (0.5, 1.0, 2.0)
"""nats"""


class Policy(NamedTuple):
    """goal: [G] expected goal; kl: mean KL to the policy that drew the answers, in nats; weights: [G, K]."""

    goal: Array
    kl: float
    weights: Array


def standardised(rewards: Array) -> Array:
    """Rewards in standard deviations, rounded. NaN, which is no reward, counts as equal to every other NaN, and below every number."""
    known = np.isfinite(rewards)
    if not known.any():
        return np.zeros_like(rewards)
    values = rewards[known]
    spread = values.std() or 1.0
    scaled = (rewards - values.mean()) / spread
    return np.round(np.where(known, scaled, scaled[known].min() - 1), DIGITS)


def best_of(rewards: Array, goals: Array, n: int) -> Array:
    """[G] the expected goal of the best rewarded of n answers that are drawn without replacement from the K."""
    k = rewards.shape[1]
    below = (rewards[:, None, :] < rewards[:, :, None]).sum(-1)
    up_to = (rewards[:, None, :] <= rewards[:, :, None]).sum(-1)
    chance = (comb(up_to, n) - comb(below, n)) / comb(k, n) / (up_to - below)
    return np.asarray((chance * goals).sum(-1))


def pair_counts(goals: Array) -> Array:
    """[G] pairs of answers to a prompt whose goals differ."""
    return np.triu(goals[:, :, None] != goals[:, None, :], 1).sum((1, 2)).astype(float)


def pair_accuracy(rewards: Array, goals: Array) -> Array:
    """[G] share of the pairs with different goals that the rewards order as the goals do; equal rewards are half right. NaN without pairs."""
    of_goal = np.sign(goals[:, :, None] - goals[:, None, :])
    of_reward = np.sign(rewards[:, :, None] - rewards[:, None, :])
    right = np.triu((of_goal != 0) * (0.5 + 0.5 * of_goal * of_reward), 1).sum((1, 2))
    with np.errstate(invalid="ignore"):
        return np.asarray(right / pair_counts(goals))


def spearman(rewards: Array, goals: Array) -> Array:
    """[G] rank correlation; 0 where the rewards are all equal, NaN where the goals are."""
    x, y = (rankdata(part, axis=1) - (part.shape[1] + 1) / 2 for part in (rewards, goals))
    sizes = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    found = np.divide((x * y).sum(1), sizes, out=np.zeros(len(x)), where=sizes > 0)
    return np.where((y != 0).any(1), found, np.nan)


def tilted(rewards: Array, goals: Array, inverse_beta: float) -> Policy:
    """The policy that is optimal for a reward with a KL penalty beta: pi = pi_0 exp(R / beta) / Z.

    The K answers are drawn from pi_0, so on them pi is the self-normalised importance weights w = softmax(R / beta), and its KL is
    sum_k w_k log(K w_k). See Gao, Schulman & Hilton 2023 (arXiv 2210.10760); the closed form is in Rafailov et al. 2023
    (arXiv 2305.18290, eq. 4).
    """
    logs = (rewards - rewards.max(1, keepdims=True)) * inverse_beta
    logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
    weights = np.exp(logs)
    kl = (weights * np.where(weights > 0, logs + np.log(rewards.shape[1]), 0.0)).sum(1)
    return Policy((weights * goals).sum(1), float(kl.mean()), weights)


def policy_at(rewards: Array, goals: Array, kl: float) -> Policy:
    """The optimal policy whose mean KL over prompts is `kl`, with one beta for all prompts, found by bisection. Where ties or log K do not allow
    so much, the one with the largest KL there is."""
    low, high = -12.0, 20.0  # log of 1 / beta; rewards are standardised and rounded, so e^20 picks the best
    if tilted(rewards, goals, np.exp(high)).kl <= kl:
        return tilted(rewards, goals, np.exp(high))
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(rewards, goals, np.exp(middle)).kl < kl else (low, middle)
    return tilted(rewards, goals, np.exp((low + high) / 2))


METRICS = ("pairs", "spearman", "best_of_4", "best_of_all", *(f"policy_{kl:g}" for kl in KLS))


def measure(rewards: Array, goals: Array) -> tuple[dict[str, Array], dict[str, float]]:
    """All metrics [G] of a reward, and the KL that the policies reached. rewards: NaN where there is none."""
    r = standardised(rewards)
    k = r.shape[1]
    policies = {f"policy_{kl:g}": policy_at(r, goals, kl) for kl in KLS}
    found = {
        "pairs": pair_accuracy(r, goals),
        "spearman": spearman(r, goals),
        "best_of_4": best_of(r, goals, min(4, k)),
        "best_of_all": best_of(r, goals, k),
    }
    return found | {name: policy.goal for name, policy in policies.items()}, {n: p.kl for n, p in policies.items()}


def clustered(values: Array, weights: Array, sources: NDArray[np.int64]) -> Interval:
    """A weighted mean over prompts with its 95% t interval; prompts of one source count as one unit.

    The mean is a ratio of sums over sources; its variance is that of the linearised ratio (Cochran 1977, Sampling Techniques, sec. 6.3).

    Args:
        values, weights: [G]; a NaN counts for nothing.
        sources: [G] number of the source of each prompt, from 0.

    Raises:
        ValueError: no value.
    """
    known = ~np.isnan(values) & (weights > 0)
    if not known.any():
        raise ValueError("no prompt has a value")
    v, w, s = values[known], weights[known], sources[known]
    mean = float((v * w).sum() / w.sum())
    _, unit = np.unique(s, return_inverse=True)
    rest = np.bincount(unit, w * (v - mean))
    count = len(rest)
    if count < 2:
        return Interval(mean, float("nan"), float("nan"))
    error = float(np.sqrt(count / (count - 1) * (rest**2).sum()) / w.sum())
    reach = float(t.ppf(0.975, count - 1)) * error
    return Interval(mean, mean - reach, mean + reach)
