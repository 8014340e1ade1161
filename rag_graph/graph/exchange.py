"""A graph to and from node-link JSON and GraphML, without loss: file -> graph -> format -> graph is the identity.

GraphML has neither maps nor nulls, so structured attributes are stored as JSON text with the prefix `json:`.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import networkx
import yaml

from rag_graph.errors import GraphFileError, near_miss
from rag_graph.graph.spec import BLOCK_OF, GraphSpec
from rag_graph.yaml_document import MAX_BYTES, read_bounded

_PREFIX = "json:"


def to_yaml(spec: GraphSpec) -> str:
    """The graph as a graph-definition file: all includes merged, one relation per line."""
    content = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content.pop("include", None)
    edges = content.pop("edges", [])
    head = {key: content.pop(key) for key in ("format", "name", "title") if key in content}
    text: str = yaml.dump(head, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    for block, value in content.items():
        text += "\n" + yaml.dump({block: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    if edges:
        text += "\nedges:\n"
        for edge in edges:
            line = yaml.dump(
                edge, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=10_000, allow_unicode=True
            ).strip()
            text += f"  - {line}\n"
    return text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes long texts as blocks. Numbers and words are written so that YAML 1.2 reads back the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain_word = (
        text.replace("_", "a").replace("-", "a").replace(" ", "a").isalpha()
        and text.isascii()
        and text.lower() not in {"null", "true", "false"}
    )
    if (
        "\n" in text
        and not text.startswith((" ", "\n"))
        and all(line == line.rstrip() for line in text.split("\n"))
        and text.isprintable() is False
        and all(c.isprintable() or c == "\n" for c in text)
    ):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain_word else '"')


_Dumper.add_representer(str, _represent_text)


def to_networkx(graph: GraphSpec) -> networkx.MultiDiGraph:
    """The whole graph as attributes; `read_content` reads it back from a file."""
    spec = graph.model_dump(mode="json", by_alias=True, exclude_unset=False)
    whole = networkx.MultiDiGraph(
        format=spec["format"],
        name=spec["name"],
        title=spec["title"],
        relations=spec["relations"],
    )
    for name, kind in graph.node_kinds().items():
        whole.add_node(name, kind=kind, spec=spec[BLOCK_OF[kind]][name])
    for order, edge in enumerate(spec["edges"]):
        whole.add_edge(
            edge["from"], edge["to"], key=edge["relation"], strength=edge["strength"], tuned=edge["tuned"], order=order
        )
    return whole


def to_node_link(graph: GraphSpec) -> str:
    return json.dumps(networkx.node_link_data(to_networkx(graph), edges="edges"), indent=2, ensure_ascii=False) + "\n"


def to_graphml(graph: GraphSpec) -> str:
    whole = to_networkx(graph)
    flat = networkx.MultiDiGraph(**_encode(whole.graph))
    for name, attributes in whole.nodes(data=True):
        flat.add_node(name, **_encode(attributes))
    for source, target, key, attributes in whole.edges(keys=True, data=True):
        flat.add_edge(source, target, key=key, **_encode(attributes))
    buffer = io.BytesIO()
    networkx.write_graphml_xml(flat, buffer, named_key_ids=True)
    return buffer.getvalue().decode("utf-8")


def _encode(attributes: dict[str, Any]) -> dict[str, Any]:
    """Text is stored as JSON too: XML does not allow most control characters, and it changes line ends."""
    return {
        k if isinstance(v, bool | int | float) else _PREFIX + k: v
        if isinstance(v, bool | int | float)
        else json.dumps(v)
        for k, v in attributes.items()
    }


def _decode(attributes: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(_PREFIX): json.loads(v) if k.startswith(_PREFIX) else v for k, v in attributes.items()}


def read_content(path: Path) -> dict[str, Any]:
    """The content of a `.json` (node-link) or `.graphml` file that this package wrote, in the shape of a graph-definition file.

    Its values are checked by the reader, like those of any other graph file.

    Raises:
        GraphFileError: missing, too large, not of that format, or changed into something that is no graph.
    """
    limit = 4 * MAX_BYTES
    try:
        raw = read_bounded(path, limit)
        if len(raw) > limit:
            raise GraphFileError(f"{path}:1:1: more than {limit:,} bytes.")
        text = raw.decode("utf-8")
        parts = _node_link_parts(text) if path.suffix == ".json" else _graphml_parts(text)
        return _content(*parts)
    except GraphFileError:
        raise
    except FileNotFoundError:
        raise GraphFileError(f"{path}:1:1: no such file.") from None
    except _NotAGraphError as error:
        raise GraphFileError(f"{path}:1:1: {error}") from None
    except (
        Exception
    ) as error:  # parsers raise many types of errors for malformed files: KeyError, TypeError, ParseError ...
        kind = "node-link JSON" if path.suffix == ".json" else "GraphML"
        raise GraphFileError(
            f"{path}:1:1: not {kind} that this package wrote ({type(error).__name__}: {error})."
        ) from None


class _NotAGraphError(Exception):
    pass


Parts = tuple[dict[str, Any], list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]
"""Graph attributes, (id, attributes) of nodes, attributes of edges with source, target and key."""


def _node_link_parts(text: str) -> Parts:
    whole = json.loads(text, object_pairs_hook=_without_repeats)
    text.encode("utf-8")
    json.dumps(whole, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is not a character
    if not isinstance(whole, dict) or whole.get("directed") is not True or whole.get("multigraph") is not True:
        raise _NotAGraphError("a node-link graph must say 'directed': true and 'multigraph': true.")
    nodes = [(str(node["id"]), {k: v for k, v in node.items() if k != "id"}) for node in whole["nodes"]]
    return whole["graph"], nodes, whole["edges"]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [key for key, _ in pairs]
        raise _NotAGraphError(
            f"the key '{next(name for name in names if names.count(name) > 1)}' is stated twice in one object."
        )
    return content


def _graphml_parts(text: str) -> Parts:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise _NotAGraphError("a document type declaration. GraphML needs none: remove it.")
    flat = networkx.parse_graphml(text, force_multigraph=True)
    nodes = [(str(name), _decode(attributes)) for name, attributes in flat.nodes(data=True)]
    edges = [
        {"source": a, "target": b, "key": key, **_decode(attributes)}
        for a, b, key, attributes in flat.edges(keys=True, data=True)
    ]
    if not flat.is_directed():
        raise _NotAGraphError('the graph must be directed: edgedefault="directed".')
    if text.count("<node ") != len(nodes) or text.count("<edge ") != len(edges):
        raise _NotAGraphError("a node or an edge is stated twice.")  # networkx has merged them
    return _decode(flat.graph), nodes, edges


def _content(
    graph: dict[str, Any], nodes: list[tuple[str, dict[str, Any]]], edges: list[dict[str, Any]]
) -> dict[str, Any]:
    content: dict[str, Any] = {key: value for key, value in graph.items() if value not in ({}, [], "")}
    for name, attributes in nodes:
        if attributes.get("kind") not in BLOCK_OF:
            raise _NotAGraphError(
                f"node '{name}': kind {attributes.get('kind')!r} is none of {', '.join(BLOCK_OF)}.{near_miss(str(attributes.get('kind')), BLOCK_OF)}"
            )
        block = content.setdefault(BLOCK_OF[attributes["kind"]], {})
        if name in block:
            raise _NotAGraphError(f"node '{name}' is stated twice.")
        block[name] = attributes.get("spec")
    ordered = sorted(edges, key=lambda edge: edge["order"])
    content["edges"] = [
        {
            "from": edge["source"],
            "to": edge["target"],
            "relation": edge["key"],
            **{k: v for k, v in edge.items() if k not in ("source", "target", "key", "order")},
        }
        for edge in ordered
    ]
    return content


WRITERS = {".yaml": to_yaml, ".json": to_node_link, ".graphml": to_graphml}


def write_graph(graph: GraphSpec, path: Path) -> Path:
    """Write a graph; see `AuxiliaryGraph.save`."""
    if path.suffix not in WRITERS:
        known = ", ".join(WRITERS)
        raise GraphFileError(f"{path}: unknown format '{path.suffix}'.{near_miss(path.suffix, WRITERS)} Known: {known}")
    if not path.parent.is_dir():
        raise GraphFileError(f"{path}: no such folder: {path.parent}")
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # then moved: a reader never sees half a file
    beside.write_text(WRITERS[path.suffix](graph), encoding="utf-8", newline="")
    os.replace(beside, path)
    return path
