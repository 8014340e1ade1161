"""Columns of a row by name, also inside nested values, and the id of a row."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rag_graph.errors import DataError, near_miss

MISSING: Any = object()
"""A row has no such column."""
ID_COLUMNS = ("id", "_id", "docid")
"""Columns that may hold the id of a row: the first one that a row has."""


def reach(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or `MISSING`. Where no column has this name, its dots lead into nested values: `answers.text` is the value `text` of the
    map `answers`; of a list of maps, the list of their values."""
    if column in row:
        return row[column]
    head, dot, rest = column.partition(".")
    while dot:
        if head in row:
            return _inside(row[head], rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return MISSING


def _inside(value: Any, column: str) -> Any:
    if isinstance(value, Mapping):
        return reach(value, column)
    if isinstance(value, list | tuple):
        found = [_inside(one, column) for one in value]
        return MISSING if value and all(one is MISSING for one in found) else [f for f in found if f is not MISSING]
    return value if is_null(value) else MISSING


def is_null(value: Any) -> bool:
    """None, and NaN, which some tools write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def no_column(where: str, column: str, row: Mapping[str, Any], use: str) -> DataError:
    """What to say of a column that is not there.

    Args:
        use: what reads it, such as "which task 't' reads as 'input'".
    """
    near = near_miss(column, _names(row))
    return DataError(f"{where}: no column '{column}', {use}.{near} The row has: {', '.join(map(str, row))}.")


def _names(row: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The columns of a row, and dotted those inside."""
    for name, value in row.items():
        yield f"{before}{name}"
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, Mapping):
            yield from _names(inner, f"{before}{name}.")


def text_of(value: Any, column: str, where: str) -> str:
    """A text, a number, a truth value or a date as text.

    Raises:
        DataError: it is anything else; says what to write for a map and a list.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and math.isfinite(value):
        return str(value)
    if isinstance(value, datetime.date | datetime.time | decimal.Decimal):
        return str(value)
    place = f"{where}: column '{column}' is"
    if is_null(value):
        raise DataError(f"{place} empty (null), not text.")
    shown = f"{type(value).__name__} {str(value)[:60]!r}, not text."
    if isinstance(value, Mapping) and value:
        raise DataError(
            f"{place} {shown} Name the value that is meant: {', '.join(f'{column}.{key}' for key in value)}."
        )
    if isinstance(value, list | tuple):
        raise DataError(f"{place} {shown} Make a column of texts of it, such as the items joined by line breaks.")
    raise DataError(f"{place} {shown}")


def id_of(row: Mapping[str, Any], where: str) -> str | None:
    """The id of a row: its column `id`, else `_id`, else `docid`; None where it has none, or an empty one.

    Raises:
        DataError: it is neither text nor a whole number.
    """
    for column in ID_COLUMNS:
        value = row.get(column)
        if not is_null(value) and value != "":
            return as_id(value, where)
    return None


def as_id(value: Any, where: str) -> str:
    """Raises DataError where the value is neither a text nor a whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of numbers with gaps, as pandas keeps it
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise DataError(f"{where}: an id is a text or a whole number, not {value!r}.")
    return str(value)


def row_ids(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str] | None:
    """The ids of all rows; None where no row has one.

    Args:
        rows: (where, row).

    Raises:
        DataError: some rows have an id and others have none, or an id comes twice.
    """
    ids: list[str] = []
    places: dict[str, str] = {}
    bare: list[str] = []
    for where, row in rows:
        found = id_of(row, where)
        if found is None:
            bare.append(where)
        elif found in places:
            raise DataError(
                f"{where}: the id '{found}' appears twice in this data set, first at {places[found]}. Ids must be unique."
            )
        else:
            places[found] = where
            ids.append(found)
        if bare and places:
            there = next(iter(places.items()))
            raise DataError(
                f"{bare[0]}: the row has no id, and the row at {there[1]} has the id '{there[0]}'. Give every row an id, or none."
            )
    return ids or None


def no_id(where: str, row: Mapping[str, Any]) -> DataError:
    """What to say of a row that needs an id and has none."""
    like = next((str(name) for name in row if str(name).lower().endswith("id")), None)
    rename = f" Rename the column '{like}' to 'id', if it is the id." if like and like not in ID_COLUMNS else ""
    return DataError(
        f"{where}: no id. Every row needs one, as text or a whole number, in a column 'id', '_id' or 'docid'.{rename} The row has: {', '.join(map(str, row))}."
    )
