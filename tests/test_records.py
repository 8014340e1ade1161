"""Records: the texts that they give out, and the total reward by hand."""

from __future__ import annotations

import torch

from rag_graph.records import ContextNode, Episode, Evidence, Example, NodeRewards


def test_texts() -> None:
    assert Example("1", "t", {"question": "who ?", "input": "a"}).text == "a"
    assert Example("1", "t", {"question": "who ?", "place": "b"}).text == "who ?\nb"
    assert Example("1", "t", {"input": "a"}).sampling_unit == Example("2", "u", {"input": "a"}).sampling_unit == "a"
    assert Example("1", "t", {"input": "a"}, unit="p7").sampling_unit == "p7"
    node = ContextNode("notes/7", "notes", "", "c")
    assert node.local_id == "7"
    episode = Episode("1", Example("1", "t", {"input": "a"}), "p", "r", evidence=(Evidence(node, 1.0, 1),))
    assert episode.source == "a\nc"
    assert episode.with_scores({"t": 0.5}).scores == {"t": 0.5}
    assert episode.scores == {}


def test_the_total_is_weighted_and_nan_where_nothing_is_paid() -> None:
    values, weights = torch.tensor([[0.5, 1.0], [1.0, 1.0]]), torch.tensor([[2.0, 0.25], [1.0, 1.0]])
    seen = torch.ones(2, 2, dtype=torch.bool)
    rewards = NodeRewards(("a", "b"), values, seen, weights, values, values, torch.tensor([True, False]))
    total = rewards.total()
    assert total[0] == 1.25
    assert total[1].isnan()
