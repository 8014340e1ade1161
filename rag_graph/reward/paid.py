"""What a reward says of an episode: what it paid, and what it expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from rag_graph.display import one_line
from rag_graph.records import Episode, NodeRewards


class PaidEpisode(NamedTuple):
    """A scored episode and what it was paid, each tensor [N]."""

    episode: Episode
    values: Tensor
    weights: Tensor
    scores: Tensor
    gates: Tensor
    paid: Tensor  # bool []

    def __repr__(self) -> str:
        total = (self.values * self.weights).sum().item()
        return one_line("PaidEpisode", f"reward {total:+.2f}" if self.paid else "no reward", repr(self.episode))


class ExpectedScore(NamedTuple):
    """A predicted score and its interval, in [0, 1]; NaN bounds where the readout's imputer has no predictive distribution."""

    mean: float
    low: float
    high: float


def paid_episodes(episodes: Sequence[Episode], rewards: NodeRewards) -> list[PaidEpisode]:
    """Copies, not views, and no columns: a view would carry the whole batch along when it travels to another process."""
    columns = (rewards.values, rewards.weights, rewards.scores, rewards.gates, rewards.paid)
    return [
        PaidEpisode(replace(one, columns={}), *(column[row].clone() for column in columns))
        for row, one in enumerate(episodes)
    ]
