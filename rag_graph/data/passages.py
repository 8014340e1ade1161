"""Reads passages and questions from jsonl files (also .gz), tables and BEIR folders."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from rag_graph.data.beir import beir_rows, corpus_of, is_qrels
from rag_graph.data.columns import as_id, id_of, is_null, no_id
from rag_graph.data.tables import ENDINGS, Rows, read_table
from rag_graph.errors import DataError, near_miss
from rag_graph.records import ContextNode
from rag_graph.runtime import read_jsonl

QUESTIONS = ("question", "query")
"""Columns that may hold the question: the first one that a row has; in a BEIR folder it is `text`."""


class Query(NamedTuple):
    """A question; `supporting_ids` are the passages that answer it, if they are known."""

    id: str
    question: str
    supporting_ids: tuple[str, ...] = ()

    @property
    def sampling_unit(self) -> tuple[str, ...]:
        """What was drawn at random: the passages that it is about, else the question itself."""
        return tuple(sorted(set(self.supporting_ids))) or (self.question,)


def read_passages(path: Path, node: str = "", known: Iterable[str] = ()) -> list[ContextNode]:
    """Rows {id, title, text, links}. `id` (or `_id`, or `docid`) and `text` are required; a passage that has a title alone is its title. Links are
    ids of the same file.

    Args:
        path: a jsonl file (also .gz), csv, tsv or parquet, or a folder in the layout of BEIR, of which the corpus is read.
        node: their context in the graph file; it is put before their ids, as in "archive/17".
        known: ids of other passages to which these may link.

    Raises:
        DataError: no passage, no id, no text, an id that appears twice, a link to an unknown passage; with file and line.
    """
    prefix = f"{node}/" if node else ""
    nodes: list[ContextNode] = []
    places: dict[str, str] = {}
    for where, row in _rows(corpus_of(path) if path.is_dir() else path):
        text, title, links = (None if is_null(row.get(name)) else row.get(name) for name in ("text", "title", "links"))
        if title is not None and not isinstance(title, str):
            raise DataError(f"{where}: 'title' is {type(title).__name__}, not text.")
        if text is None or (isinstance(text, str) and not text.strip()):
            text = title if "text" in row else None
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: no 'text'. A passage is {{id, title, text, links}}; id and text are required.")
        if links is not None and not isinstance(links, list):
            raise DataError(f"{where}: 'links' is a list of passage ids.")
        key = id_of(row, where)
        if key is None:
            raise no_id(where, row)
        key = prefix + key
        if key in places:
            first = places[key].removeprefix(f"{path}:")
            raise DataError(
                f"{where}: id '{key.removeprefix(prefix)}' is also on line {first}. Passage ids must be unique."
            )
        places[key] = where
        nodes.append(
            ContextNode(
                key, node, title or "", text, path.name, tuple(prefix + as_id(link, where) for link in links or ())
            )
        )
    if not nodes:
        raise DataError(f"{path}: the file has no passages.")
    there = {*places, *known}
    for passage in nodes:
        check_links(passage, there, places[passage.id], prefix)
    return nodes


def _rows(path: Path) -> Rows:
    """Rows of a table; a file of another ending is read as jsonl."""
    if path.name.removesuffix(".gz").endswith(ENDINGS):
        return read_table(path)
    return ((f"{path}:{number}", row) for number, row in read_jsonl(path))


def check_links(passage: ContextNode, known: Collection[str], where: str, prefix: str = "") -> None:
    """Raises DataError if a passage links to one that is not `known`."""
    for link in passage.links:
        if link not in known:
            near = near_miss(link.removeprefix(prefix), [key.removeprefix(prefix) for key in known])
            raise DataError(f"{where}: links to '{link.removeprefix(prefix)}', and no passage has this id.{near}")


def read_queries(path: Path) -> list[Query]:
    """Rows {id, question, supporting_ids}. `id` (or `_id`) and `question` (or `query`) are required.

    Args:
        path: a file as for passages; or a folder in the layout of BEIR, whose queries of the split test are read with what supports them; or one of
            its qrels, such as "scifact/qrels/dev.tsv", for those of that split.

    Raises:
        DataError: no row, no id, an empty question, an id that appears twice; with file and line.
    """
    queries: dict[str, Query] = {}
    beir = path.is_dir() or is_qrels(path)
    for where, row in beir_rows(path) if beir else _rows(path):
        question = next(
            (row[name] for name in (*QUESTIONS, *(["text"] if beir else [])) if not is_null(row.get(name))), None
        )
        if not isinstance(question, str) or not question.strip():
            raise DataError(
                f"{where}: no 'question'. A query is {{id, question, supporting_ids}}; id and question are required."
            )
        key = id_of(row, where)
        if key is None:
            raise no_id(where, row)
        if key in queries:
            raise DataError(f"{where}: the id '{key}' appears twice in this file. Query ids must be unique.")
        gold = row.get("supporting_ids")
        if not is_null(gold) and not isinstance(gold, list | tuple):
            raise DataError(f"{where}: 'supporting_ids' is a list of passage ids.")
        queries[key] = Query(key, question, tuple(as_id(item, where) for item in gold or ()))
    if not queries:
        raise DataError(f"{path}: the file has no queries.")
    return list(queries.values())
