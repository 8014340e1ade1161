"""A table of logged answers -> arrays: scores, tasks, groups, preference pairs. All problems of a table are told at once.

| column | content |
|---|---|
| NODE, `scores.NODE`, or `scores` = {NODE: number} | the node's score in [0, 1]; empty, null or NaN: not observed |
| `task` | the task of the answer; not needed where the graph has one |
| `group` | what rows belong together, such as the id of the source; without it the `prompt`, without that each row by itself |
| the `items` column of a rubric | its items; the score of the rubric may then be a list, one number per item |
| `response`, `position` | the answer's text, and where a judge saw it among others: for the check of a judge |
| `chosen.NODE`, `rejected.NODE`, or `chosen` = {NODE: number} | the scores of two answers, of which the first was preferred: a row that is a pair |

Other columns are passed over, and named in the notes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_graph.data.tables import read_table
from rag_graph.errors import DataError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.offline.rows import SIDES, Reading, Rows

if TYPE_CHECKING:
    import pandas

MOST_TOLD = 10
"""Problems that one error tells."""
CHUNK = 10_000
ROW = "row"
"""As the name of the group column: each row is a group by itself."""


@dataclass(frozen=True)
class LoggedTable:
    """n answers, N nodes, P pairs.

    scores: float32 [n, N] in [0, 1], NaN where not observed or not of the answer's task.
    tasks: int64 [n], node position of each answer's task.
    groups: int64 [n], 0 to the number of groups - 1; rows of one source share a number.
    pairs: int64 [P, 2], rows of the preferred and of the other answer.
    rows: int64 [n], row of the table that each answer is of; the answers of a pair share one.
    absent: bool [n, N], rubrics that are no part of the answer's graph, for its row has no items.
    words: [n], number of words of the answer's text, NaN where there is none; positions: where a judge saw it, such as "1", or None.
    """

    graph: AuxiliaryGraph
    scores: NDArray[np.float32]
    tasks: NDArray[np.int64]
    groups: NDArray[np.int64]
    pairs: NDArray[np.int64]
    rows: NDArray[np.int64]
    grouped_by: str
    absent: NDArray[np.bool_]
    words: NDArray[np.float64]
    positions: tuple[str | None, ...]
    notes: tuple[str, ...] = ()

    @property
    def goals(self) -> NDArray[np.float32]:
        """[n] the score of each answer's own task, NaN where not observed."""
        return self.scores[np.arange(len(self.tasks)), self.tasks]


def read_logged(table: str | Path | pandas.DataFrame, graph: AuxiliaryGraph, how: Reading | None = None) -> LoggedTable:
    """Read a table: a .jsonl, .csv or .parquet file, or a DataFrame.

    Raises:
        DataError: all that is wrong with it, each problem on a line of its own, with what to write instead.
    """
    where = str(table) if isinstance(table, str | Path) else "the table"
    if not isinstance(table, str | Path) and not hasattr(table, "iloc"):
        raise DataError(
            f"the table: a {type(table).__name__}. Give a path or a DataFrame, such as pandas.DataFrame(rows)."
        )
    reader = _Whole(graph, how or {}, where)
    for place, row in read_table(Path(table)) if isinstance(table, str | Path) else _rows_of(table):
        reader.add(place, row)
    return reader.finish()


def _rows_of(frame: pandas.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"the table has the column '{twice[0]}' twice. Rename or drop one of them.")
    for start in range(0, len(frame), CHUNK):
        part = frame.iloc[start : start + CHUNK]
        part = part.astype(object).where(part.notna(), None)
        for offset, row in enumerate(part.itertuples(index=False, name=None)):
            yield f"row {start + offset}", dict(zip(names, row, strict=True))


class _Whole(Rows):
    """The rows as arrays, checked."""

    def finish(self) -> LoggedTable:
        """Check the whole and make arrays of it."""
        if not self.number:
            raise DataError(f"{self.source}: no row. A row is an answer with its scores.")
        scored = {node for kind, node in self.columns.values() if kind in ("score", *SIDES) and node >= 0}
        scores = np.array(self.answers, dtype=np.float64).reshape(len(self.answers), len(self.graph.nodes))
        scored |= set(np.flatnonzero(~np.isnan(scores).all(0)).tolist())
        self._check_columns(scored)
        self._rescale(scores)
        tasks = self._tasks()
        applies = np.array(
            [
                [name == task or self.graph.applies(name, task) for name in self.graph.nodes]
                for task in self.graph.spec.tasks
            ]
        )
        order = {self.graph.index[task]: row for row, task in enumerate(self.graph.spec.tasks)}
        mine = applies[[order[task] for task in tasks.tolist()]] if len(tasks) else np.ones_like(scores, dtype=bool)
        notes = self._notes(scores, mine)
        kept = np.where(mine, scores, np.nan).astype(np.float32)
        groups, grouped_by = self._groups()
        if self.problems:
            told, more = self.problems[:MOST_TOLD], len(self.problems) - MOST_TOLD
            raise DataError("\n".join([*told, *([f"and {more} more problems"] if more > 0 else [])]))
        return LoggedTable(
            self.graph, kept, tasks, groups, np.array(self.pairs, dtype=np.int64).reshape(-1, 2),
            np.array(self.of_row, dtype=np.int64), grouped_by, self._absent(kept), np.array(self.words), tuple(self.positions), tuple(notes),
        )  # fmt: skip

    def _check_columns(self, scored: set[int]) -> None:
        nodes = {name for name in self.graph.nodes if self.graph.kinds[name] != "context"}
        if not scored:
            columns = ", ".join(list(self.columns)[:12])
            raise DataError(
                f"{self.source}: no column of any node of graph '{self.graph.name}'. It has the columns {columns}; the graph has the nodes "
                f"{', '.join(sorted(nodes))}. Name the columns after nodes, or scores.NODE."
            )
        without = sorted(nodes - {self.graph.nodes[node] for node in scored})
        for name in [*self.others]:
            last = name.rpartition(".")[2]
            close = near_miss(last, without)
            if close:
                self.problem(
                    f"{self.source}: column '{name}' is no node, and a node without a column is called nearly so.{close} Rename the column, "
                    f"or leave it out: --ignore {name}, in Python ignore=['{name}']."
                )
        if self.texts_of_pairs and not self.pairs:
            self.problem(
                f"{self.source}: the columns 'chosen' and 'rejected' hold texts, and a pair needs scores: columns chosen.NODE and rejected.NODE, "
                "or objects NODE: number. Or --ignore chosen --ignore rejected."
            )
        for node in self.how.get("rescale", {}):
            if node not in self.graph.index:
                self.problem(f"rescale: '{node}' is no node of the graph.{near_miss(node, nodes)}")

    def _rescale(self, scores: NDArray[np.float64]) -> None:
        for column, node in enumerate(self.graph.nodes):
            low, high = self.how.get("rescale", {}).get(node, (0.0, 1.0))
            values = scores[:, column]
            smallest, largest = min(low, high), max(low, high)
            bad = (values < smallest - 1e-9) | (values > largest + 1e-9)
            if low == high or not math.isfinite(low) or not math.isfinite(high):
                self.problem(f"rescale: {node}={low:g}:{high:g}: two different numbers are expected.")
            elif np.isinf(values).any():
                infinite = np.isinf(values)
                self.problem(
                    f"{self.places[int(np.flatnonzero(infinite)[0])]}: node '{node}': {infinite.sum():,} of {(~np.isnan(values)).sum():,} scores are "
                    "infinite. Leave the cell empty where nothing was observed."
                )
            elif bad.any():
                known = values[~np.isnan(values)]
                span = f"{known.min():g}:{known.max():g}"
                self.problem(
                    f"{self.places[int(np.flatnonzero(bad)[0])]}: node '{node}': {bad.sum():,} of {len(known):,} scores are outside [{smallest:g}, {largest:g}]; "
                    f"they go from {known.min():g} to {known.max():g}. Say which values become 0 and 1: --rescale {node}={span}, in Python "
                    f"rescale={{'{node}': ({span.replace(':', ', ')})}}; take the ends of the scale, where they are further apart."
                )
            else:
                scores[:, column] = ((values - low) / (high - low)).clip(0, 1)

    def _tasks(self) -> NDArray[np.int64]:
        """[n] node position of the task; the only task where the column names none."""
        names = list(self.graph.spec.tasks)
        index, named = self.graph.index, "task" in self.how
        if len(names) == 1 and not named and any(name not in (None, names[0]) for name in self.task_names):
            self.others[self.task_column] = None
            return np.full(len(self.task_names), index[names[0]], dtype=np.int64)
        found = []
        for place, name in zip(self.places, self.task_names, strict=True):
            if name is None and len(names) == 1:
                name = names[0]
            if name not in self.graph.spec.tasks:
                if all(one is None for one in self.task_names):
                    self.problem(
                        f"{self.source}: the graph has the tasks {', '.join(names)}, and no column '{self.task_column}' says which an answer is of. "
                        "Add it, or name another column: --task COLUMN, in Python task='COLUMN'."
                    )
                    break
                self.problem(
                    f"{place}: '{name}' is no task of the graph.{near_miss(str(name), names)} Known: {', '.join(names)}."
                )
                name = names[0]
            found.append(index[name])
        return np.array(found, dtype=np.int64)

    def _groups(self) -> tuple[NDArray[np.int64], str]:
        if "group" in self.how and self.group_column != ROW and not self.by_group:
            self.problem(
                f"{self.source}: no column '{self.group_column}' for the groups.{near_miss(self.group_column, self.columns)}"
            )
        place = 0 if self.by_group else 1 if self.by_prompt and self.group_column != ROW else -1
        keys: list[Any] = [
            (ROW, row) if place < 0 or key[place] is None else key[place]
            for key, row in zip(self.keys, self.of_row, strict=True)
        ]
        known: dict[Any, int] = {}
        groups = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
        name = self.group_column if place == 0 else "prompt" if place == 1 else ROW
        if place >= 0 and len(known) == 1 and self.number > 1:
            self.problem(
                f"{self.source}: all rows are of one group by the column '{name}', so none can be held out. Name another column, --group COLUMN, "
                "or let each row be a group by itself: --group row."
            )
        return groups, name

    def _absent(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """[n, N] rubrics without items and without a score, where the table has items of the rubric in other rows."""
        absent = np.zeros(scores.shape, dtype=bool)
        cells = [cell for cell in self.no_items if cell[1] in self.with_items]
        if cells:
            absent[tuple(np.array(cells).T)] = True
        found: NDArray[np.bool_] = absent & np.isnan(scores)
        return found

    def _notes(self, scores: NDArray[np.float64], mine: NDArray[np.bool_]) -> list[str]:
        notes = []
        if self.others:
            names = list(self.others)
            notes.append(
                f"{len(names)} columns are no nodes of the graph and were passed over: {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}"
            )
        strange = int((~np.isnan(scores) & ~mine).sum()) if mine.shape == scores.shape else 0
        if strange:
            notes.append(
                f"{strange:,} scores are of nodes that do not bear on the task of their row; they were passed over"
            )
        return notes
