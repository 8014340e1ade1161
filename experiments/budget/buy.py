"""One stream of answers whose scores are bought within a limit, and how good the reward is that comes of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tables import Table
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.evaluation.agreement import pair_accuracy, spearman
from rag_graph.records import Episode, Example
from rag_graph.reward.reward import GraphReward

UPDATES = 4
"""Parts of the stream: after each the reward learns."""


class Quality(NamedTuple):
    """spearman, pairs: of rows that are kept apart, goals hidden and not for sale. paid_spearman, paid_pairs: of the second half of the stream as it was paid, bought
    goals included. spent: share of the price of everything. goals: that were bought."""

    spearman: float
    pairs: float
    paid_spearman: float
    paid_pairs: float
    spent: float
    goals: int


class Cheap(GraphReward):
    """A control: every score is worth the same, so what is cheap is bought first."""

    def _values(self, episodes: Sequence[Episode], price: Tensor) -> Tensor | None:
        return torch.ones_like(price) if self.learning.fits else None


def buy(
    table: Table, learn: NDArray[np.int64], apart: NDArray[np.int64], mode: str, share: float, seed: int
) -> Quality:
    """
    Args:
        share: of the price of all scores that may be spent, in the stream and on the rows that are kept apart.
    """
    updates = np.array_split(learn, UPDATES)
    limit = share * table.price(True) * len(learn) / UPDATES
    reward = make_reward(table, mode, limit, seed, True)
    paid, places = [], []
    spent, goals = 0.0, 0
    for rows in updates:
        scored = reward.observe(episodes(table, rows))
        total = reward.node_rewards(scored).total().double().numpy()
        paid.append(total)
        places.append(rows)
        goals += sum(table.goal_name in one.scores for one in scored)
        reward.learn(reward.pay(scored))
        spent += reward.metrics()["budget/spent"]
    judge = make_reward(table, mode, share * table.price(False) * len(apart), seed, False)
    judge.load_state_dict(reward.state_dict())
    judge.budget.size = None
    total = judge.node_rewards(judge.observe(episodes(table, apart))).total().double().numpy()
    half = UPDATES // 2
    ours, where = np.concatenate(paid[half:]), np.concatenate(places[half:])
    return Quality(
        *quality(table, total, apart),
        *quality(table, ours, where),
        spent / (table.price(True) * len(learn)),
        goals,
    )


def make_reward(table: Table, mode: str, limit: float, seed: int, goal_for_sale: bool) -> GraphReward:
    """A reward that has learned nothing; the scores are those of the table."""

    def score(episode: Episode, nodes: Collection[str] | None = None) -> dict[str, float]:
        row = int(episode.example.id)
        known = dict(zip(table.criteria, table.scores[row].tolist(), strict=True)) | {table.goal_name: table.goal[row]}
        return {n: float(v) for n, v in known.items() if not np.isnan(v) and (nodes is None or n in nodes)}

    kind = Cheap if mode == "cheap" else GraphReward
    settings: dict[str, Any] = {"per_update": limit, "mode": "active" if mode == "cheap" else mode}
    config = RewardConfig(reserved=0.0, goal_observed=1.0 if goal_for_sale else 0.0, budget=settings)  # type: ignore[arg-type]
    return kind(table.graph(goal_for_sale), score, config, lambda *_, **__: [], seed)


def episodes(table: Table, rows: NDArray[np.int64]) -> list[Episode]:
    return [Episode(str(row), Example(str(row), table.goal_name, {"input": ""}), "", str(row)) for row in rows.tolist()]


def quality(table: Table, paid: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[float, float]:
    """(Spearman, pair accuracy) with the goal; of a pool the mean within prompts whose goals differ."""
    goal, group = table.goal[rows], table.group[rows]
    paid = np.where(np.isnan(paid), 0.0 if np.isnan(paid).all() else np.nanmean(paid), paid)
    if not table.within:
        return _both(paid, goal)
    found = []
    for one in np.unique(group):
        mine = group == one
        if mine.sum() > 1 and np.ptp(goal[mine]) > 0:
            found.append(_both(paid[mine], goal[mine]))
    return tuple(float(column) for column in np.mean(found, 0))  # type: ignore[return-value]


def _both(paid: NDArray[np.float64], goal: NDArray[np.float64]) -> tuple[float, float]:
    """Where all rows are paid alike nothing is ordered: 0 and one half."""
    return (spearman(paid, goal), pair_accuracy(paid, goal)) if np.ptp(paid) > 0 else (0.0, 0.5)
