"""Rows of a table: jsonl, csv, tsv or parquet, or the questions of a BEIR folder."""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_graph.data.beir import beir_rows, is_qrels
from rag_graph.errors import DataError, need
from rag_graph.runtime import not_utf8, open_text, read_jsonl
from rag_graph.stored_file import plain_file

Rows = Iterator[tuple[str, dict[str, Any]]]
"""(where, row): "file.jsonl:12" and its columns."""
ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
MAX_CELL = 2**31 - 1
"""Characters in a cell of csv: as many as the module takes on every system."""


def read_table(path: Path, split: str = "test") -> Rows:
    """Rows of a jsonl, csv, tsv (these also gzipped) or parquet file, or the queries of a BEIR folder; of a file of its qrels, those that it judges.

    Args:
        split: of a BEIR folder.

    Raises:
        DataError: an unknown kind of file, or one that cannot be read; with the line.
    """
    if path.is_dir() or is_qrels(path):
        yield from beir_rows(path, split)
        return
    name = path.name.removesuffix(".gz")
    if name.endswith((".jsonl", ".json")):
        for number, row in read_jsonl(path):
            yield f"{path}:{number}", row
        return
    if not name.endswith(ENDINGS):
        raise DataError(f"{path}: unknown kind of file. Known: {', '.join(ENDINGS)}; text files also with .gz.")
    yield from _parquet_rows(path) if name.endswith(".parquet") else _csv_rows(path)


def _csv_rows(path: Path) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    try:
        with open_text(path, newline="") as handle:
            reader = csv.DictReader(handle, strict=True, delimiter=_delimiter(path))
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice == "":
                raise DataError(f"{path}: several columns have no name. Name them in the first line, or drop them.")
            if twice is not None:
                raise DataError(f"{path}: the column '{twice}' comes twice. Rename or drop one of them.")
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(
                        f"{where}: the row has another number of cells than the header has columns ({len(names)})."
                    )
                yield where, dict(row)
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.reader.line_num}: cannot be read as CSV: {error}. A cell that has quotes in it is put into quotes, and they are doubled."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None


def _delimiter(path: Path) -> str:
    """The comma, or what the first line has in its place: a semicolon or a tab; of a .tsv file the tab first."""
    with open_text(path) as handle:
        first = re.sub(r'"[^"]*"', "", handle.readline())
    return next(
        (mark for mark in ("\t,;" if path.name.removesuffix(".gz").endswith(".tsv") else ",;\t") if mark in first), ","
    )


def _parquet_rows(path: Path) -> Rows:
    need(f"{path}: a parquet file", "pyarrow")
    import pyarrow
    from pyarrow import parquet

    try:
        with plain_file(path, follow=True) as handle:
            rows = parquet.read_table(handle).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None
    for number, row in enumerate(rows, 1):
        yield f"{path}:{number}", row
