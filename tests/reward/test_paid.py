"""What is kept of a scored episode."""

from __future__ import annotations

import pickle

import torch

from rag_graph.records import Episode, Example, NodeRewards
from rag_graph.reward.paid import paid_episodes


def test_rows_are_copies_without_the_columns_of_the_batch() -> None:
    big = torch.arange(2000.0).reshape(1000, 2)
    rewards = NodeRewards(("a", "b"), big, big > 0, big, big, big, torch.ones(1000, dtype=torch.bool))
    episode = Episode("1", Example("1", "t", {}), "", "", columns={"image": "x" * 100_000})
    (first, second) = paid_episodes([episode, episode], rewards)
    assert second.values.tolist() == [2.0, 3.0]
    assert first.episode.columns == {}
    assert len(pickle.dumps(first)) < 5000
