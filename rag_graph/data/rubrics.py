"""An example's own criteria with weights, from the column that a rubric of the graph names (`criteria: {rubric: {items: COLUMN}}`).

A value is a list of items, also as JSON text. An item is a map with `criterion` (or `description`) and `weight` (or `points`), and if wanted `title`;
or a text, whose weight is 1. So the rubrics of HealthBench (arXiv 2505.08775) and of Rubrics as Rewards (arXiv 2507.17746) are read as they are.
Other keys are not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from rag_graph.data.columns import MISSING, reach
from rag_graph.errors import DataError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.explain import kind_of
from rag_graph.records import Item

TEXTS, WEIGHTS = ("criterion", "description"), ("weight", "points")
ITEM = '{"criterion": "names the city", "weight": 3}'
FORM = f'[{ITEM}, {{"criterion": "is rude", "weight": -1}}]'


def rubrics_of(graph: AuxiliaryGraph, task: str) -> dict[str, str]:
    """Node -> column, of the rubrics that apply to a task."""
    return {
        name: criterion.items
        for name, criterion in graph.spec.criteria.items()
        if criterion.items is not None and graph.applies(name, task)
    }


def items_of(row: Mapping[str, Any], rubrics: Mapping[str, str], where: str) -> dict[str, tuple[Item, ...]]:
    """The items of a row, by the node of their rubric; without an entry where the row has none (no such key, null, or an empty list).

    Args:
        row: the columns of one row, such as a line of a data set or of a trainer's batch.
        rubrics: node -> column, of the row's task (`rubrics_of`).
        where: what messages begin with, such as "train.jsonl:12".

    Raises:
        DataError: items that cannot be read, or of which none has a weight above 0.
    """
    values = {node: (column, reach(row, column)) for node, column in rubrics.items()}
    found = {
        node: read_items(None if value is MISSING else value, column, where) for node, (column, value) in values.items()
    }
    return {node: items for node, items in found.items() if items}


def check_columns(known: Collection[str], rubrics: Mapping[str, str], where: str) -> None:
    """Raises DataError where the data lack the column of a rubric.

    Args:
        known: the columns of the data.
        rubrics: node -> column, of the task (`rubrics_of`).
    """
    for node, column in rubrics.items():
        if column not in known and column.partition(".")[0] not in known:
            raise DataError(
                f"{where}: no column '{column}', which the rubric '{node}' reads its items from.{near_miss(column, known)} "
                f"The columns there are: {', '.join(map(str, known)) or 'none'}. A row without a rubric has an empty list, or null."
            )


def read_items(value: Any, column: str, where: str) -> tuple[Item, ...]:
    """The items of one value; empty for None and an empty list. Raises DataError as `items_of` does."""
    place = f"{where}: column '{column}'"
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError as error:
            raise DataError(f"{place}: {value[:60]!r} is no JSON ({error}). Write {FORM}.") from None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ()
    if isinstance(value, Mapping):  # a list of structs as `datasets` keeps it: a list for each key
        value = _rows(value, place)
    if not isinstance(value, list | tuple):
        raise DataError(f"{place} is {kind_of(value)}, {str(value)[:60]!r}, not a list of items. Write {FORM}.")
    items = tuple(_item(one, f"{place}, item {number}") for number, one in enumerate(value, 1))
    if items and not any(item.weight > 0 for item in items):
        raise DataError(
            f"{place}: no item has a weight above 0, so no answer could score above 0. Give what is wanted a weight above 0."
        )
    return items


def _rows(value: Mapping[str, Any], place: str) -> Any:
    columns = {name: one.tolist() if hasattr(one, "tolist") else one for name, one in value.items()}
    if not columns or not all(isinstance(one, list | tuple) for one in columns.values()):
        raise DataError(f"{place} is one map, not a list of items. Write {FORM}.")
    lengths = {name: len(one) for name, one in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{number} of '{name}'" for name, number in lengths.items())
        raise DataError(f"{place} has lists of different lengths: {said}. Write {FORM}.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _item(one: Any, place: str) -> Item:
    if isinstance(one, str):
        one = {"criterion": one, "weight": 1}
    if not isinstance(one, Mapping):
        raise DataError(f"{place} is {kind_of(one)}, {str(one)[:60]!r}. Write a text, or {ITEM}.")
    text, weight = (next((one[key] for key in keys if one.get(key) is not None), None) for keys in (TEXTS, WEIGHTS))
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{place} has no text 'criterion'.{_typo(one, TEXTS)} Write {ITEM}.")
    if weight is None:
        raise DataError(f"{place} ({text[:40]!r}) has no 'weight'.{_typo(one, WEIGHTS)} Write {ITEM}.")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise DataError(
            f"{place} ({text[:40]!r}): weight {weight!r} is no finite number. Below 0 it says what to avoid."
        )
    title = one.get("title")
    return Item(text, float(weight), title if isinstance(title, str) else "")


def _typo(one: Mapping[str, Any], wanted: Collection[str]) -> str:
    """The key that was probably meant as one of the wanted."""
    for key in one:
        if key not in wanted and near_miss(str(key), wanted):
            return f" It has '{key}'.{near_miss(str(key), wanted)}"
    return ""
