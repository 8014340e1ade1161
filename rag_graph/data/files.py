"""Rows of a task's data set: from a jsonl, csv or parquet file, or from the Hugging Face hub."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_graph.errors import DataError, need
from rag_graph.graph.spec import Dataset
from rag_graph.runtime import read_jsonl

DATA_VARIABLE = "RAG_GRAPH_DATA"
Rows = Iterator[tuple[str, dict[str, Any]]]
"""(where, row): "file.jsonl:12" and its columns."""


def find_file(stated: str, root: Path) -> Path:
    """Find a data file beside the graph or under $RAG_GRAPH_DATA.

    Raises:
        DataError: it is in neither place.
    """
    places = [root / stated]
    if folder := os.environ.get(DATA_VARIABLE):
        places.append(Path(folder) / stated)
    for place in places:
        if place.is_file():
            return place
    hint = "" if folder else f" ${DATA_VARIABLE} is not set: point it at the folder that holds your data sets."
    raise DataError(f"data file '{stated}' was not found at {' or '.join(map(str, places))}.{hint}")


def read_rows(dataset: Dataset, split: str, root: Path) -> Rows:
    """Rows of one split ("train" or "test") of a data set in a file or on the hub.

    Raises:
        DataError: missing file, unreadable format, bad line, unknown hub data set.
    """
    if dataset.hub is not None:
        yield from _hub_rows(dataset, dataset.split if split == "train" else dataset.test or "test")
        return
    stated = dataset.path if split == "train" else dataset.test
    if stated is None:
        raise DataError(
            f"the data set '{dataset.path}' states no 'test' file: there is no held-out part to evaluate on. State one, or hold a share of "
            "its rows out: data.test_share in the config, such as --set data.test_share=0.2."
        )
    yield from read_table(find_file(stated, root))


def read_table(path: Path) -> Rows:
    """Rows of a jsonl (also .gz), csv or parquet file."""
    name = path.name.removesuffix(".gz")
    if name.endswith((".jsonl", ".json")):
        for number, row in read_jsonl(path):
            yield f"{path}:{number}", row
        return
    if not name.endswith((".csv", ".parquet")):
        raise DataError(f"{path}: unknown kind of file. Known: .jsonl, .jsonl.gz, .csv, .parquet")
    yield from _csv_rows(path) if name.endswith(".csv") else _parquet_rows(path)


def _csv_rows(path: Path) -> Rows:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            names = list(reader.fieldnames or ())
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{path}: the column '{twice}' comes twice. Rename or drop one of them.")
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(
                        f"{where}: the row has another number of cells than the header has columns ({len(names)})."
                    )
                yield where, dict(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None


def _parquet_rows(path: Path) -> Rows:
    need(f"{path}: a parquet file", "pyarrow")
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None
    for number, row in enumerate(rows, 1):
        yield f"{path}:{number}", row


def _hub_rows(dataset: Dataset, split: str) -> Rows:
    need(f"hub data set '{dataset.hub}'", "datasets")
    from datasets import load_dataset

    try:
        loaded = load_dataset(dataset.hub, dataset.config, split=split, revision=dataset.revision)
    except Exception as error:  # network, name and format errors of many types
        raise DataError(
            f"hub data set '{dataset.hub}' (split {split}) cannot be loaded: {error}. Check the name and the network, or use 'path:'. "
            "Where there is no such split, data.test_share in the config holds out a share of the rows."
        ) from None
    for number, row in enumerate(loaded, 1):
        yield f"{dataset.hub}[{split}]:{number}", row
