"""Rows of a table -> examples of a task: which column is which field, what a missing value becomes, which errors name the row.

| in the row | becomes |
|---|---|
| a reference that is null, NaN, an empty text or an empty list | no reference: the goal of the example is not observed |
| null in one of several fields that the prompt shows | an empty text |
| null, or an empty text, in all of them | an error |
| null in `supporting`, `demonstration`, `unit` | none |
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_graph.data.columns import MISSING, as_id, is_null, no_column, reach, row_ids, text_of
from rag_graph.data.rubrics import check_columns, items_of, rubrics_of
from rag_graph.data.tables import Rows, read_table
from rag_graph.display import cut
from rag_graph.errors import DataError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.spec import NOT_SHOWN, Task
from rag_graph.records import Example

TRAINING_ONLY = NOT_SHOWN - {"reference", "unit"}
"""Fields that only training rows must have."""


def read_examples(path: Path, name: str, graph: AuxiliaryGraph) -> list[Example]:
    """Examples of one task of the graph from any file with the task's fields.

    Raises:
        DataError: as in `examples_from_rows`, or an empty file.
    """
    examples = examples_from_rows(name, graph.spec.tasks[name], read_table(path), rubrics=rubrics_of(graph, name))
    if not examples:
        raise DataError(f"{path}: the file has no rows.")
    return examples


def examples_from_rows(
    name: str,
    task: Task,
    rows: Rows,
    prefix: str = "",
    rubrics: Mapping[str, str] | None = None,
    training: bool = False,
) -> list[Example]:
    """Rows of a table -> examples, by the task's field mapping. Where no row has an id, each gets `prefix` and its number.

    Args:
        rubrics: node -> column of its items, of the rubrics that apply to the task (`rubrics_of`).
        training: the columns of `supporting` and `demonstration` must be there too.

    Raises:
        DataError: a missing column, a value that is no text, nothing that the prompt could show, a repeated id, ids on some rows only, a label
            outside the task's labels, items of a rubric that cannot be read; with file and line.
    """
    table = list(rows)
    if not table:
        return []
    for ours, column in task.fields.items():
        known = training or ours not in TRAINING_ONLY
        if known and all(reach(row, column) is MISSING for _, row in table):
            where, row = table[0]
            raise no_column(where, column, row, f"which task '{name}' reads as '{ours}'")
    check_columns(list(dict.fromkeys(column for _, row in table for column in row)), rubrics or {}, table[0][0])
    ids = row_ids(table) or [f"{prefix}row{number}" for number in range(len(table))]
    examples = []
    for key, (where, row) in zip(ids, table, strict=True):
        answer = task.fields.get("reference")
        references = () if answer is None else references_of(row, answer, name, task, where)
        unit = task.fields.get("unit")
        drawn = reach(row, unit) if unit is not None else None
        examples.append(
            Example(
                f"{name}/{key}",
                name,
                _inputs(row, name, task, where),
                references,
                _supporting(row, task, where),
                "" if unit is None or drawn is MISSING or is_null(drawn) else text_of(drawn, unit, where),
                items_of(row, rubrics or {}, where),
            )
        )
    return examples


def _inputs(row: Mapping[str, Any], name: str, task: Task, where: str) -> dict[str, str]:
    found = {}
    for ours, column in task.fields.items():
        if ours in NOT_SHOWN:
            continue
        value = reach(row, column)
        if value is MISSING:
            raise no_column(where, column, row, f"which task '{name}' reads as '{ours}'")
        found[ours] = "" if is_null(value) else text_of(value, column, where)
    if found and not any(text.strip() for text in found.values()):
        columns = " and ".join(f"'{column}'" for ours, column in task.fields.items() if ours not in NOT_SHOWN)
        raise DataError(
            f"{where}: {columns} {'is' if len(found) == 1 else 'are'} empty: there is nothing to ask. Remove the row."
        )
    return found


def references_of(row: Mapping[str, Any], column: str, name: str, task: Task, where: str) -> tuple[str, ...]:
    """The references of a row, of a classification task as the words that the model writes; empty where there is none.

    Raises:
        DataError: a value that is no text, or a label that the task does not have.
    """
    value = reach(row, column)
    values = value if isinstance(value, list | tuple) else [value]
    given = [one for one in values if one is not MISSING and not is_null(one) and one != ""]
    texts = [(one, text_of(one, column, where)) for one in given]
    texts = [(one, text) for one, text in texts if text.strip()]
    if task.kind != "classification":
        return tuple(text for _, text in texts)
    return tuple(_label(one, text, name, task, where) for one, text in texts)


def _label(value: Any, text: str, name: str, task: Task, where: str) -> str:
    """The word of a label. Outer white space and the way an accent is written do not count; true is `true` or `True`, and 1.0 is 1."""
    mapping = task.labels if isinstance(task.labels, dict) else {label: label for label in task.labels}
    tried = [text, unicodedata.normalize("NFC", text).strip()]
    if isinstance(value, bool):
        tried.append(text.lower())
    elif isinstance(value, float) and value.is_integer():
        tried.append(str(int(value)))
    composed = {unicodedata.normalize("NFC", label): word for label, word in mapping.items()}
    for one in tried:
        if one in composed:
            return composed[one]
        if one in mapping:
            return mapping[one]
    hint = ""
    if text == "-1":
        hint = " Where -1 stands for a label that is not known, write null."
    elif not isinstance(value, str | bool) and not isinstance(task.labels, dict):
        hint = f" For numbers, write a map: labels: {{{text}: {next(iter(mapping), 'word')}, ...}}."
    raise DataError(
        f"{where}: label '{cut(text)}' is none of task '{name}'.{near_miss(text, mapping)} Its labels: {', '.join(mapping)}.{hint}"
    )


def _supporting(row: Mapping[str, Any], task: Task, where: str) -> tuple[str, ...]:
    """Ids of passages, each once; none if the row has none."""
    column = task.fields.get("supporting")
    value = reach(row, column) if column else None
    if column is None or value is MISSING or is_null(value):
        return ()
    place = f"{where}: column '{column}'"
    if isinstance(value, Mapping) and value:
        raise DataError(
            f"{place} is a map, not ids. Name the ids in it: {', '.join(f'{column}.{key}' for key in value)}."
        )
    listed = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(one, list | tuple) for one in listed):
        raise DataError(f"{place} is a list of lists, not of ids. Make a column of the ids alone.")
    if listed == [""] and value == "":
        return ()
    if "" in listed:
        raise DataError(f"{place} contains an empty id. Leave it out, or write null, if no id is known.")
    return tuple(dict.fromkeys(as_id(one, place) for one in listed))
