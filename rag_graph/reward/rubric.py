"""What each item of a rubric was paid: the pay of the rubric's node, split among the example's own criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from rag_graph.evaluation.rubric import ItemScores, best, contributions
from rag_graph.records import Episode, Item, NodeRewards
from rag_graph.reward.model import RewardModel


class ItemPay(NamedTuple):
    """An item of a rubric, its score, and its share of what the rubric's node paid; None where it was not observed."""

    criterion: str
    weight: float
    title: str
    score: float | None
    paid: float | None


def split(pay: float, nothing: float, items: Sequence[Item], scores: ItemScores) -> list[float | None]:
    """The pay of a rubric's node, split by item; the parts of the observed items sum to it.

    What the answer earned above a score of 0 goes to the items by weight times score. What an answer with a score of 0 is paid, which is below 0
    because pay is centred on what is usual, goes to the items by weight. So an item that was met lies above one that was missed, and what was to be
    avoided costs. Where the score is 0, all goes to what was missed, and to what was not avoided.

    Args:
        nothing: what the node pays at a score of 0.
    """
    parts, most = contributions(items, scores), best(items, scores)
    if parts is None:
        return [None] * len(items)
    total = sum(parts)
    wanted = [0.0 if score is None else max(item.weight, 0.0) / most for item, score in zip(items, scores, strict=True)]
    if total > 1e-9:
        paid = [(pay - nothing) / total * part + nothing * of for part, of in zip(parts, wanted, strict=True)]
    else:
        paid = [pay * (of - part) / (1 - total) for part, of in zip(parts, wanted, strict=True)]
    return [None if score is None else share + 0.0 for share, score in zip(paid, scores, strict=True)]


def item_pay(model: RewardModel, episode: Episode, values: Tensor, weights: Tensor) -> dict[str, list[ItemPay]]:
    """Rubric -> its items in one episode, with what each paid, by the current statistics.

    Args:
        values, weights: [N] what the nodes pay before their weights, and the weights; one row of `NodeRewards`.
    """
    found = {}
    for node, scores in episode.item_scores.items():
        column = model.topology.nodes.index(node)
        weight = float(weights[column])
        nothing = float(model.value_of_nothing()[column]) * weight
        items = episode.example.items[node]
        paid = split(float(values[column]) * weight, nothing, items, scores)
        found[node] = [
            ItemPay(item.criterion, item.weight, item.title, score, share)
            for item, score, share in zip(items, scores, paid, strict=True)
        ]
    return found


def items_paid(model: RewardModel, episodes: Sequence[Episode], rewards: NodeRewards) -> list[dict[str, list[ItemPay]]]:
    """`item_pay` of each episode of a batch."""
    rows = zip(episodes, rewards.values, rewards.weights, strict=True)
    return [item_pay(model, episode, values, weights) for episode, values, weights in rows]


def item_attribution(
    shares: Mapping[str, float], episode: Episode, means: Mapping[str, float]
) -> dict[str, list[ItemPay]]:
    """Rubric -> its items, with the share of each in the attribution of the rubric's node: what the item moves the score away from its mean.

    Args:
        shares: node -> its attribution, in which the node is compared with its running mean.
        means: node -> that mean.
    """
    found = {}
    for node, scores in episode.item_scores.items():
        items, mean = episode.example.items[node], means[node]
        parts = contributions(items, scores)
        total = 0.0 if parts is None else min(1.0, max(0.0, sum(parts)))
        away = total - mean
        slope = shares.get(node, 0.0) / away if abs(away) > 1e-9 else 0.0
        paid = split(slope * away, -slope * mean, items, scores)
        found[node] = [
            ItemPay(item.criterion, item.weight, item.title, score, share)
            for item, score, share in zip(items, scores, paid, strict=True)
        ]
    return found
