"""A reward as one function per node, for trainers that aggregate several rewards themselves, such as GDPO (arXiv 2601.05242).

    GRPOTrainer(..., reward_funcs=reward.node_functions())

A trainer calls every function with the same completions. The first call of a batch scores it, keeps it for `learn` and pays it; the
others read what it paid. So an episode is scored, and learned from, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from rag_graph.reward.scores import Scores

if TYPE_CHECKING:
    from rag_graph.records import NodeRewards
    from rag_graph.reward.model import RewardModel

Pay = Callable[..., "NodeRewards"]
"""Called as a reward; scores, keeps and pays a batch."""


class OneScoring:
    """What the functions of one reward share: what the last batch was paid, and which functions have read it."""

    def __init__(self, pay: Pay) -> None:
        self.pay = pay
        self.batch: tuple[Any, ...] = ()
        self.paid: NodeRewards | None = None
        self.read: set[int] = set()

    def of(self, node: int, *batch: Any, **columns: Any) -> NodeRewards:
        """What the batch (prompts, completions, completion_ids) is paid. A function that asks twice asks about a new batch, even if
        the policy wrote the same again."""
        if self.paid is None or node in self.read or batch != self.batch:
            self.batch, self.paid, self.read = batch, self.pay(*batch, **columns), set()
        self.read.add(node)
        return self.paid


class NodeFunction:
    """What one node pays, value times weight; None where it does not bear on the episode, or the episode has no reward. Has TRL's signature."""

    def __init__(self, name: str, column: int, shared: OneScoring) -> None:
        self.__name__ = name
        self.column, self.shared = column, shared

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> list[float | None]:
        if not prompts:
            return []
        rewards = self.shared.of(self.column, prompts, completions, completion_ids, **columns)
        weight = rewards.weights[:, self.column]
        pays = (rewards.values[:, self.column] * weight).tolist()
        counts = (rewards.paid & (weight != 0)).tolist()
        return [value if known else None for value, known in zip(pays, counts, strict=True)]


def paying_nodes(model: RewardModel, auxiliary: float) -> list[int]:
    """Positions of the nodes that can pay: those with a weight in the episodes of some task. auxiliary: eta."""
    tasks = model.topology.applies.diagonal().nonzero().squeeze(-1)
    in_play = model.topology.applies[tasks]
    half = torch.full(in_play.shape, 0.5)
    with torch.no_grad():
        weights = model(Scores(half, in_play, torch.zeros_like(half), tasks), auxiliary).weights
    found: list[int] = (weights != 0).any(0).nonzero().squeeze(-1).tolist()
    return found
