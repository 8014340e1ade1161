"""The network without a graph: the running mean at first, and blind to what is hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores


def test_it_starts_at_the_running_mean(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[tuple[Any, ...]]
) -> None:
    model = fitted(right, "mlp", steps=0)
    scores, _ = planted(20, 7)
    with torch.no_grad():
        found = model.imputer(scores, model.graph)
    assert found.shape == (1, 20, 8)
    assert torch.equal(found[0], model.imputer.base.means.expand(20, 8))


def test_what_is_hidden_changes_nothing_and_what_is_seen_does(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[tuple[Any, ...]]
) -> None:
    model = fitted(right, "mlp", steps=5)
    scores, _ = planted(20, 7)
    shown = scores.without(torch.arange(8) == 3)
    other = shown._replace(values=torch.where(torch.arange(8) == 3, torch.nan, shown.values))
    with torch.no_grad():
        one, two, seen = (model.imputer(each, model.graph) for each in (shown, other, scores))
    assert torch.equal(one, two)
    assert not torch.equal(one, seen)
