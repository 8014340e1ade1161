"""Fit a readout to a split and judge what it pays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from data import GOAL, Split, Table
from numpy.typing import NDArray

from rag_graph.config import RewardConfig
from rag_graph.records import Episode, Example
from rag_graph.reward.offline.fitting import fit_to
from rag_graph.reward.reward import GraphReward

INTERVAL = 0.8


def episodes(
    scores: NDArray[np.float64], criteria: Sequence[str], goal: NDArray[np.float64], labelled: Sequence[int]
) -> list[Episode]:
    seen = set(labelled)
    made = []
    for row, values in enumerate(scores):
        known = {name: float(value) for name, value in zip(criteria, values, strict=True) if not np.isnan(value)}
        if row in seen:
            known[GOAL] = float(goal[row])
        made.append(Episode(f"0/{row}", Example(str(row), GOAL, {"input": ""}), "", "", scores=known))
    return made


def fitted(table: Table, part: Split, readout: str, seed: int) -> GraphReward:
    """A reward that has learned from the training rows of a split."""
    config = RewardConfig(readout=readout, reserved=0.0)
    reward = GraphReward(table.graph, lambda episode, nodes=None: episode.scores, config, lambda *_, **__: [], seed)
    rows = episodes(part.train, table.criteria, part.train_goal, part.labelled.tolist())
    np.random.default_rng(seed).shuffle(rows)
    fit_to(reward, reward.batch_of(rows))
    return reward


def pay(reward: GraphReward, table: Table, part: Split) -> NDArray[np.float64]:
    """[rows] what the rows that were kept apart are paid, their goals hidden."""
    rows = episodes(part.test, table.criteria, part.test_goal, ())
    total = reward.node_rewards(rows).total()
    # NaN where no score was observed: then nothing is known, and the middle is fair to all.
    return np.asarray(torch.where(total.isnan(), total.nanmean(), total).double().numpy())
