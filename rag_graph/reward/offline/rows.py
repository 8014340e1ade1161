"""The rows of a table of logged answers: what each column holds, and each answer's scores as they stand in the cells."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from rag_graph.data.rubrics import read_items
from rag_graph.errors import DataError
from rag_graph.evaluation.rubric import score_of_row
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.words import count_words

MISSING = frozenset({"", "nan", "null", "none", "na", "n/a"})
WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
SIDES = ("chosen", "rejected")
KNOWN = ("id", "prompt", "response", "position", "reference", "completion", *SIDES)
MOST_PROBLEMS = 100


class Reading(TypedDict, total=False):
    """How a table is read."""

    task: str
    """Column that names the task; default `task`."""
    group: str
    """Column that names the group, or 'row': each row by itself; default `group`."""
    rescale: Mapping[str, tuple[float, float]]
    """Node -> (value that becomes 0, value that becomes 1). The first may be the larger one."""
    ignore: Collection[str]
    """Columns that are no scores, whatever their name looks like."""


@dataclass
class Rows:
    """
    Args:
        source: the name of the table in messages.

    Attributes:
        answers: scores of each answer, one per node, NaN where the cell is empty; places: where each stands; keys: its (group, prompt).
        words: length of the text of each answer, NaN where there is none; positions: where a judge saw it, in words.
        pairs: numbers of the preferred and of the other answer; of_row: row of the table of each answer.
        problems: what is wrong, a sentence each; others: columns that are no nodes.
        with_items: nodes of rubrics whose items stand in the table; no_items: (answer, node) where the row has none.
    """

    graph: AuxiliaryGraph
    how: Reading
    source: str
    answers: list[list[float]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    task_names: list[str | None] = field(default_factory=list)
    of_row: list[int] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    positions: list[str | None] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    columns: dict[str, tuple[str, int]] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)
    number: int = 0
    texts_of_pairs: bool = False

    def __post_init__(self) -> None:
        self.ignored = set(self.how.get("ignore", ()))
        self.task_column, self.group_column = self.how.get("task", "task"), self.how.get("group", "group")
        self.by_group = self.by_prompt = False
        criteria = self.graph.spec.criteria.items()
        self.rubrics = {self.graph.index[name]: one.items for name, one in criteria if one.items is not None}
        self.with_items: set[int] = set()
        self.no_items: list[tuple[int, int]] = []
        self.row: Mapping[str, Any] = {}

    # ------------------------------------------------------------------ rows

    def add(self, place: str, row: Mapping[str, Any]) -> None:
        """Take in one row."""
        self.row = row
        found: dict[str, list[float]] = {}
        seen: set[tuple[str, int]] = set()
        for name, value in row.items():
            kind, node = self.columns.get(name) or self._column(name)
            if kind == "other":
                continue
            if kind == "score":
                self._put(place, name, "", node, value, found, seen)
            elif kind in SIDES and node >= 0:
                self._put(place, name, kind, node, value, found, seen)
            else:
                self._nested(place, name, "" if kind == "scores" else kind, value, found, seen)
        sides = [side for side in SIDES if side in found]
        if sides and "" in found and any(value == value for value in found[""]):
            self.problem(f"{place}: a row is one answer or a pair: this one has scores of both. Write two rows.")
        if len(sides) == 1:
            other = SIDES[1 - SIDES.index(sides[0])]
            self.problem(
                f"{place}: scores of the {sides[0]} answer, and none of the {other} one. Add {other}.NODE, or leave both empty."
            )
        first = len(self.answers)
        for side in sides or [""]:
            self.answers.append(found.get(side) or [math.nan] * len(self.graph.nodes))
            self.places.append(place)
            self.keys.append(self._key(row))
            self.task_names.append(_text(row.get(self.task_column)))
            self.of_row.append(self.number)
            self.words.append(math.nan if side else _length(row.get("response")))
            self.positions.append(_position(row.get("position")))
        if len(sides) == 2:
            self.pairs.append((first, first + 1))
        empty = self._rubrics_without_items(place) if self.rubrics else []
        self.no_items += [(answer, node) for answer in range(first, len(self.answers)) for node in empty]
        self.number += 1

    def _key(self, row: Mapping[str, Any]) -> Any:
        self.by_group = self.by_group or self.group_column in row
        self.by_prompt = self.by_prompt or "prompt" in row
        group, prompt = row.get(self.group_column), row.get("prompt")
        return _hashable(group), _hashable(prompt)

    def _column(self, name: str) -> tuple[str, int]:
        """What a column holds, and the node that it scores, or -1."""
        index = self.graph.index
        first, _, rest = name.partition(".")
        is_node = name in index and name not in (self.task_column, self.group_column)
        if name in self.ignored:
            found = ("other", -1)
        elif is_node and self.graph.kinds[name] != "context":
            found = ("score", index[name])
        elif first == "scores" and not rest:
            found = ("scores", -1)
        elif first in (*SIDES, "scores") and rest:
            kind = "score" if first == "scores" else first
            found = (kind, index[rest]) if rest in index else ("other", -1)
            if rest not in index:
                self.others[name] = None
        elif first in SIDES:
            found = (first, -1)
        else:
            found = ("other", -1)
            if name not in (self.task_column, self.group_column, *KNOWN, *self.rubrics.values()):
                self.others[name] = None
        self.columns[name] = found
        return found

    def _nested(
        self, place: str, name: str, side: str, value: Any, found: dict[str, list[float]], seen: set[tuple[str, int]]
    ) -> None:
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = json.loads(value)
            except ValueError:
                value = None if side else value
        if isinstance(value, Mapping):
            inner = value.get("scores") if side and isinstance(value.get("scores"), Mapping) else value
            assert isinstance(inner, Mapping)
            for node, number in inner.items():
                if node in self.graph.index and f"scores.{node}" not in self.ignored:
                    self._put(place, f"{name}.{node}", side, self.graph.index[node], number, found, seen)
                else:
                    self.others[f"{name}.{node}"] = None
        elif side:
            self.texts_of_pairs = self.texts_of_pairs or value is not None
        elif value is not None and _text(value) is not None:
            self.problem(f"{place}: column 'scores' holds {value!r:.60}; an object NODE: number is expected.")

    def _put(
        self,
        place: str,
        name: str,
        side: str,
        node: int,
        value: Any,
        found: dict[str, list[float]],
        seen: set[tuple[str, int]],
    ) -> None:
        if node in self.rubrics and name == self.rubrics[node] and (_is_list(value) or _text(value) is None):
            return  # its items, or none
        if (side, node) in seen:
            self.problem(
                f"{place}: node '{self.graph.nodes[node]}' has two columns, the second is '{name}'. Drop one of them."
            )
        seen.add((side, node))
        if node in self.rubrics and _is_list(value):
            value = self._of_items(place, name, node, value)
        number = value if type(value) is float else _number(value)
        if number is None:
            self.problem(
                f"{place}: column '{name}' holds {value!r:.60}, which is no number. Leave the cell empty where nothing was observed."
            )
            return
        if number == number or side == "":
            if side not in found:
                found[side] = [math.nan] * len(self.graph.nodes)
            found[side][node] = number

    def _of_items(self, place: str, name: str, node: int, value: Any) -> float | None:
        """The score of a rubric from the scores of its items."""
        column = self.rubrics[node]
        if column not in self.row:
            self.problem(
                f"{place}: column '{name}' holds a list, the score of each item, and no column '{column}' holds the items with their weights. Add it, "
                "or give one number, the score of the rubric."
            )
            return None
        try:
            values = json.loads(value.replace("NaN", "null")) if isinstance(value, str) else list(value)
            return score_of_row(values, self.row, column, self.graph.nodes[node], place)
        except DataError as error:
            self.problem(str(error))
        except ValueError:
            self.problem(
                f"{place}: column '{name}' holds {value!r:.60}, which is no list of numbers, such as [1, 0.5]."
            )
        return math.nan

    def _rubrics_without_items(self, place: str) -> list[int]:
        """The rubrics for which the row has no items. Which rubrics have items at all is known at the end of the table."""
        empty = []
        for node, column in self.rubrics.items():
            value = self.row.get(column)
            if not _is_list(value):
                if _text(value) is None:
                    empty.append(node)
                continue
            self.with_items.add(node)
            try:
                if not read_items(value, column, place):
                    empty.append(node)
            except DataError as error:
                self.problem(str(error))
        return empty

    def problem(self, text: str) -> None:
        """Note a problem once."""
        if len(self.problems) < MOST_PROBLEMS and text not in self.problems:
            self.problems.append(text)


def _length(response: Any) -> float:
    """Words of a text or of chat messages; NaN for what is neither."""
    if isinstance(response, list | tuple) and response and isinstance(response[-1], Mapping):
        response = response[-1].get("content")
    return float(count_words(response)) if isinstance(response, str) else math.nan


def _position(value: Any) -> str | None:
    return f"{value:g}" if isinstance(value, float) and value == value else _text(value)


def _is_list(value: Any) -> bool:
    """Whether a cell holds a list or a map, also as JSON text."""
    if isinstance(value, str):
        return value.lstrip().startswith(("[", "{"))
    return isinstance(value, list | tuple | Mapping | np.ndarray)


def _number(value: Any) -> float | None:
    """NaN for what was not observed; None for what is no number."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        text = value.strip().lower()
        if text in MISSING:
            return math.nan
        if text in WORDS:
            return WORDS[text]
        try:
            return float(text)
        except ValueError:
            return None
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return float(value)
    return None


def _text(value: Any) -> str | None:
    """None for an empty cell."""
    if value is None or value != value:
        return None
    text = str(value)
    return text if text.strip() else None


def _hashable(value: Any) -> Any:
    return _text(value) if not isinstance(value, list | dict) else json.dumps(value, sort_keys=True, default=str)
