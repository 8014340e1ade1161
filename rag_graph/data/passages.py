"""Reads passages and questions from jsonl files (also .gz)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rag_graph.errors import DataError, near_miss
from rag_graph.records import ContextNode
from rag_graph.runtime import read_jsonl


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
    """Rows {id, title, text, links}. `text` is required, the default id is the number of the line, links are ids of the same file.

    Args:
        node: their context in the graph file; it is put before their ids, as in "archive/17".
        known: ids of other passages to which these may link.

    Raises:
        DataError: no passage, no text, an id that appears twice, a link to an unknown passage; with file and line.
    """
    prefix = f"{node}/" if node else ""
    nodes: list[ContextNode] = []
    lines: dict[str, int] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        text, title, links = row.get("text"), row.get("title"), row.get("links")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: no 'text'. A passage is {{id, title, text, links}}, text is required.")
        if title is not None and not isinstance(title, str):
            raise DataError(f"{where}: 'title' is {type(title).__name__}, not text.")
        if links is not None and not isinstance(links, list):
            raise DataError(f"{where}: 'links' is a list of passage ids.")
        key = prefix + (str(number) if row.get("id") is None else _id(row["id"], where))
        if key in lines:
            raise DataError(
                f"{where}: id '{key.removeprefix(prefix)}' is also on line {lines[key]}. Passage ids must be unique."
            )
        lines[key] = number
        nodes.append(
            ContextNode(
                key, node, title or "", text, path.name, tuple(prefix + _id(link, where) for link in links or ())
            )
        )
    if not nodes:
        raise DataError(f"{path}: the file has no passages.")
    there = {*lines, *known}
    for passage in nodes:
        check_links(passage, there, f"{path}:{lines[passage.id]}", prefix)
    return nodes


def check_links(passage: ContextNode, known: Collection[str], where: str, prefix: str = "") -> None:
    """Raises DataError if a passage links to one that is not `known`."""
    for link in passage.links:
        if link not in known:
            near = near_miss(link.removeprefix(prefix), [key.removeprefix(prefix) for key in known])
            raise DataError(f"{where}: links to '{link.removeprefix(prefix)}', and no passage has this id.{near}")


def read_queries(path: Path) -> list[Query]:
    """Rows {id, question, supporting_ids}. The default id is the number of the line.

    Raises:
        DataError: no row, an empty question, an id that appears twice; with file and line.
    """
    queries: dict[str, Query] = {}
    for number, row in read_jsonl(path):
        where, question = f"{path}:{number}", row.get("question")
        if not isinstance(question, str) or not question.strip():
            raise DataError(
                f"{where}: no 'question'. A query is {{id, question, supporting_ids}}, question is required."
            )
        key = str(number) if row.get("id") is None else _id(row["id"], where)
        if key in queries:
            raise DataError(f"{where}: the id '{key}' appears twice in this file. Query ids must be unique.")
        gold = row.get("supporting_ids") or ()
        if not isinstance(gold, list | tuple):
            raise DataError(f"{where}: 'supporting_ids' is a list of passage ids.")
        queries[key] = Query(key, question, tuple(_id(item, where) for item in gold))
    if not queries:
        raise DataError(f"{path}: the file has no queries.")
    return list(queries.values())


def _id(value: Any, where: str) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise DataError(f"{where}: an id is a text or a whole number, not {value!r}.")
    return str(value)
