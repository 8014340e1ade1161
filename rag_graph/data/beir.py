"""Folders in the layout of BEIR (arXiv 2104.08663): `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`.

The corpus is passages of {_id, title, text}; the queries are {_id, text}; a line of a qrels file is a query, a passage and a score, with or
without a header, or a line of TREC (query, iteration, passage, score). A passage with a score above 0 supports the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_graph.data.columns import id_of, no_id
from rag_graph.errors import DataError
from rag_graph.runtime import not_utf8, open_text, read_jsonl

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
SUPPORTING = "supporting_ids"
"""The column that a query gets from the qrels."""


def is_beir(path: Path) -> bool:
    """A folder with a corpus and queries."""
    return path.is_dir() and _file(path, CORPUS) is not None and _file(path, QUERIES) is not None


def files_of(path: Path) -> list[Path]:
    """The files that are read of such a folder, or with a file of its qrels."""
    folder = path.parent.parent if is_qrels(path) else path
    named = [_file(folder, CORPUS), _file(folder, QUERIES), *sorted((folder / QRELS).glob("*.tsv"))]
    return [one for one in named if one is not None]


def is_qrels(path: Path) -> bool:
    """A file of qrels in such a folder."""
    return path.suffix == ".tsv" and path.parent.name == QRELS and is_beir(path.parent.parent)


def corpus_of(folder: Path) -> Path:
    """The file of passages of a folder. Raises DataError where it is no such folder."""
    found = _file(folder, CORPUS)
    if found is None or not is_beir(folder):
        raise no_layout(folder)
    return found


def no_layout(folder: Path) -> DataError:
    return DataError(
        f"{folder}: a folder, and not one in the layout of BEIR ({CORPUS}, {QUERIES}, {QRELS}/SPLIT.tsv). Name a file in it; a folder that the "
        "library datasets reads goes under 'hub:' in place of 'path:'."
    )


def beir_rows(path: Path, split: str = "test") -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of the queries that a split judges: the columns of `queries.jsonl`, `id`, and `supporting_ids`, a list.

    Args:
        path: the folder, or a file of qrels in it, which then says which split.

    Raises:
        DataError: no such layout or split, a query that is judged and not there, a bad line.
    """
    folder = path.parent.parent if is_qrels(path) else path
    queries = _file(folder, QUERIES)
    if queries is None or not is_beir(folder):
        raise no_layout(folder)
    qrels = path if is_qrels(path) else _qrels_of(folder, split)
    judged: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for where, query, passage, score in _judgements(qrels):
        judged.setdefault(query, []).extend([passage] if score > 0 else [])
        places.setdefault(query, where)
    for number, row in read_jsonl(queries):
        where = f"{queries}:{number}"
        key = id_of(row, where)
        if key is None:
            raise no_id(where, row)
        if key in judged:
            places.pop(key, None)
            yield where, {**row, "id": key, SUPPORTING: judged[key]}
    if places:
        query, where = next(iter(places.items()))
        raise DataError(f"{where}: the query '{query}' is not in {queries}.")


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _qrels_of(folder: Path, split: str) -> Path:
    path = folder / QRELS / f"{split}.tsv"
    if path.is_file():
        return path
    there = sorted(one.name for one in (folder / QRELS).glob("*.tsv"))
    raise DataError(
        f"{path}: no such file: the data set has no split '{split}'. It has: {', '.join(there) or 'no qrels at all'}. Name one, such as "
        f"{folder.name}/{QRELS}/{there[0] if there else 'test.tsv'}."
    )


def _judgements(path: Path) -> Iterator[tuple[str, str, str, float]]:
    try:
        with open_text(path) as handle:
            for number, line in enumerate(handle, 1):
                cells = line.rstrip("\n").split("\t") if "\t" in line else line.split()
                if not line.strip() or (number == 1 and not _is_number(cells[-1])):
                    continue  # the header
                if len(cells) not in (3, 4) or not _is_number(cells[-1]):
                    raise DataError(
                        f"{path}:{number}: not a line of qrels: a query, a passage and a score, with tabs between."
                    )
                yield f"{path}:{number}", cells[0].strip(), cells[-2].strip(), float(cells[-1])
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
