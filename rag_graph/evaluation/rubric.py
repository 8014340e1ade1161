"""The score of a rubric: an example's own criteria with weights, scored one by one.

The score of the rubric's node is the weighted sum of the scores of its items over the sum of the weights above 0, at least 0 (HealthBench, arXiv
2505.08775, section 5): s = clip(sum_k w_k s_k / sum_k max(w_k, 0), 0, 1). Both sums run over the items that were observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rag_graph.data.rubrics import read_items
from rag_graph.errors import DataError
from rag_graph.records import Episode, Item

ItemScores = Sequence[float | None]
"""The score in [0, 1] of each item of a rubric, in order; None where it was not observed."""


def rubric_score(items: Sequence[Item], scores: ItemScores) -> float | None:
    """The score in [0, 1] of a rubric; None where no item with a weight above 0 was observed."""
    parts = contributions(items, scores)
    return None if parts is None else min(1.0, max(0.0, sum(parts)))


def contributions(items: Sequence[Item], scores: ItemScores) -> list[float] | None:
    """What each item adds to the score of its rubric, 0 where it was not observed; they sum to the score before it is clipped."""
    most = best(items, scores)
    if most == 0:
        return None
    return [0.0 if score is None else item.weight * score / most for item, score in zip(items, scores, strict=True)]


def best(items: Sequence[Item], scores: ItemScores) -> float:
    """The sum of the weights above 0 of the observed items."""
    return sum(max(item.weight, 0.0) for item, score in zip(items, scores, strict=True) if score is not None)


def asked_about(episode: Episode, item: Item) -> Episode:
    """The episode with the columns `item` (the text of a criterion) and `item_weight`: a function of a batch gets one row for each item."""
    return replace(episode, columns={**episode.columns, "item": item.criterion, "item_weight": item.weight})


def of_items(values: Sequence[Any], items: Sequence[Item], node: str, where: str) -> tuple[float | None, ...]:
    """One value per item, as a function or a table gives them.

    Args:
        where: whose items they are, such as "example 'train/7'".

    Raises:
        DataError: another number of values than there are items, or one that is no score.
    """
    if len(values) != len(items):
        raise DataError(
            f"node '{node}': {len(values)} scores for the {len(items)} items of {where}. Give one for each item, in the order of "
            "the rubric; None where there is nothing to observe."
        )
    return tuple(_score(value, item, node) for value, item in zip(values, items, strict=True))


def _score(value: Any, item: Item, node: str) -> float | None:
    if value is None or value != value:  # NaN is how a table says that there is nothing
        return None
    try:
        score = float("nan") if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        score = float("nan")
    if not 0 <= score <= 1:
        raise DataError(
            f"node '{node}', item {item.criterion[:60]!r}: {value!r:.60} is no score. A score is a number from 0 to 1; the weight of the item stands in the rubric."
        )
    return score


def score_of_row(values: Sequence[Any], row: Mapping[str, Any], column: str, node: str, where: str) -> float | None:
    """The score of a rubric in a row of a table in which it is a list, one value per item.

    Args:
        row: the row; the rubric itself stands in `column`.
        where: what messages begin with, such as "logged.jsonl:12".

    Raises:
        DataError: as `of_items`, or items that cannot be read.
    """
    items = read_items(row.get(column), column, where)
    return rubric_score(items, of_items(values, items, node, where))


def folded(episode: Episode, scores: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, tuple[float | None, ...]]]:
    """(node -> score, node of a rubric -> the scores of its items) from scores in which a rubric may be a list, one value per item.

    Raises:
        DataError: as `of_items`.
    """
    plain: dict[str, float] = {}
    items: dict[str, tuple[float | None, ...]] = {}
    for node, value in scores.items():
        if isinstance(value, list | tuple):
            mine = episode.example.items.get(node, ())
            items[node] = of_items(value, mine, node, f"example '{episode.example.id}'")
            total = rubric_score(mine, items[node])
            if total is not None:
                plain[node] = total
        else:
            plain[node] = value
    return plain, items
