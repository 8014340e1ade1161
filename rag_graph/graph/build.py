"""Values from Python, and networkx graphs, in the shape of a graph file. The reader checks them like one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import networkx
from pydantic import BaseModel

from rag_graph.errors import GraphFileError, near_miss
from rag_graph.graph.explain import kind_of
from rag_graph.graph.spec import BLOCK_OF, FORMAT, Context, Task

_OWN_KINDS = {
    kind: block
    for block, model in (("tasks", Task), ("contexts", Context))
    for part in (model.model_fields["kind"].annotation, *get_args(model.model_fields["kind"].annotation))
    for kind in get_args(part)
    if isinstance(kind, str)
}
"""A kind that only tasks or only contexts have, such as classification or passages -> their block."""


def content_of(
    tasks: Mapping[str, Any],
    criteria: Mapping[str, Any] | Iterable[str],
    edges: Iterable[Any],
    contexts: Mapping[str, Any] | None,
    relations: Mapping[str, Any] | None,
    name: str,
    title: str,
) -> dict[str, Any]:
    """The content of a graph file from the arguments of `AuxiliaryGraph.build`; values may still be wrong, as in a file.

    Raises:
        GraphFileError: an argument of a shape that no entry of a file has.
    """
    wrong = []
    if not isinstance(tasks, Mapping):
        wrong.append(
            f"tasks: {kind_of(tasks)} given. Write tasks={{'correct': 1.0}}: a name and its goal weight, or its keys."
        )
    if isinstance(criteria, str) or not isinstance(criteria, Iterable):
        wrong.append(
            f"criteria: {kind_of(criteria)} given. Write criteria=['form', 'length'], or {{'form': 'format'}}."
        )
    if isinstance(edges, str | Mapping) or not isinstance(edges, Iterable):
        wrong.append(f"edges: {kind_of(edges)} given. Write edges=[('form', 'correct', 'prerequisite', 0.9)].")
    if wrong:
        raise GraphFileError("\n".join(wrong))
    content: dict[str, Any] = {"format": FORMAT, "name": name, **({"title": title} if title else {})}
    if not isinstance(criteria, Mapping):
        named = list(criteria)
        wrong += [f"criteria: '{n}' is stated twice. Keep one." for n, times in Counter(named).items() if times > 1]
        criteria = dict.fromkeys(named)
    blocks = {
        "relations": dict(relations or {}),
        "tasks": {task: {"goal": keys} if _is_number(keys) else keys for task, keys in tasks.items()},
        "criteria": {
            criterion: {} if keys is None else {"metric": keys} if isinstance(keys, str) else keys
            for criterion, keys in criteria.items()
        },
        "contexts": dict(contexts or {}),
    }
    content.update({block: plain(entries) for block, entries in blocks.items() if entries})
    content["edges"] = [_edge(index, edge, wrong) for index, edge in enumerate(edges)]
    if wrong:
        raise GraphFileError("\n".join(wrong))
    return content


def _edge(index: int, edge: Any, wrong: list[str]) -> Any:
    if isinstance(edge, Mapping | BaseModel):
        return plain(edge)
    if not isinstance(edge, list | tuple) or len(edge) not in (3, 4):
        wrong.append(
            f"edges[{index}]: {edge!r:.80} is no relation. Write (from, to, relation) or (from, to, relation, strength)."
        )
        return {}
    return dict(zip(("from", "to", "relation", "strength"), plain(edge), strict=False))


def content_of_networkx(graph: networkx.Graph) -> dict[str, Any]:
    """The content of a graph file from a directed networkx graph; see `AuxiliaryGraph.from_networkx`.

    Raises:
        GraphFileError: an undirected graph, or nodes and edges that say too little, one a line.
    """
    if not graph.is_directed():
        raise GraphFileError(
            "an undirected networkx graph. A relation has a source and a target: use networkx.DiGraph."
        )
    wrong: list[str] = []
    content: dict[str, Any] = {"format": FORMAT, "name": graph.graph.get("name") or "graph"}
    content.update({key: plain(graph.graph[key]) for key in ("title", "relations") if graph.graph.get(key)})
    for name, attributes in graph.nodes(data=True):
        block, entry = _node(name, attributes, wrong)
        content.setdefault(block, {})[name] = entry
    content["edges"] = []
    for source, target, key, data in sorted(_edges(graph), key=lambda edge: edge[3].get("order", float("inf"))):
        relation = data.get("relation", key if isinstance(key, str) else None)
        if relation is None:
            wrong.append(
                f"edge {source} -> {target}: no relation. Write add_edge({source!r}, {target!r}, relation='prerequisite', strength=0.9)."
            )
        rest = {name: plain(value) for name, value in data.items() if name not in ("relation", "role", "order")}
        content["edges"].append({"from": source, "to": target, "relation": relation, **rest})
    if wrong:
        raise GraphFileError("\n".join(wrong))
    return content


def _edges(graph: networkx.Graph) -> Iterable[tuple[Any, Any, Any, dict[str, Any]]]:
    if graph.is_multigraph():
        yield from graph.edges(keys=True, data=True)
    else:
        yield from ((source, target, None, data) for source, target, data in graph.edges(data=True))


def _node(name: Any, attributes: Mapping[str, Any], wrong: list[str]) -> tuple[str, dict[str, Any]]:
    """(block, entry) of a node."""
    stated = dict(attributes)
    kind, title = stated.pop("kind", None), stated.pop("title", None)
    entry: dict[str, Any] = {**plain(stated.pop("spec", None) or {}), **plain(stated)}
    if title not in (
        None,
        entry.get("title") or name,
    ):  # `AuxiliaryGraph.networkx` shows the name where there is no title
        entry["title"] = title
    if kind is None:
        return BLOCK_OF["task" if "goal" in entry else "criterion"], entry
    if kind in BLOCK_OF:
        return BLOCK_OF[kind], entry
    if kind in _OWN_KINDS:
        return _OWN_KINDS[kind], {"kind": kind, **entry}
    known = [*BLOCK_OF, *_OWN_KINDS]
    wrong.append(f"node {name}: kind {kind!r} is none of {', '.join(known)}.{near_miss(str(kind), known)}")
    return "criteria", entry


def plain(value: Any) -> Any:
    """The value as a graph file has it: models and maps as dicts, tuples and sets as lists, numbers of numpy as Python's."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _is_number(value: Any) -> bool:
    return isinstance(plain(value), int | float) and not isinstance(value, bool)
