"""A graph to and from node-link JSON and GraphML, without loss: file -> graph -> format -> graph is the identity.

GraphML has neither maps nor nulls, so structured attributes travel as JSON text under the prefix `json:`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import networkx
import yaml
from pydantic import ValidationError

from rag_graph.errors import GraphFileError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.checks import check_all
from rag_graph.graph.spec import GraphSpec
from rag_graph.graph.yaml_document import MAX_BYTES

_PREFIX = "json:"
_BLOCK = {"task": "tasks", "criterion": "criteria", "context": "contexts"}


def to_yaml(graph: AuxiliaryGraph) -> str:
    """The graph as a graph-definition file: everything merged, one relation a line."""
    content = graph.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content.pop("include", None)
    edges = content.pop("edges", [])
    head = {key: content.pop(key) for key in ("format", "name", "title") if key in content}
    text: str = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
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
    """Writes long texts as blocks, and numbers and words so that YAML 1.2 reads them back the same."""

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


def to_networkx(graph: AuxiliaryGraph) -> networkx.MultiDiGraph:
    """Everything the graph says, as attributes; `from_networkx` reads it back."""
    spec = graph.spec.model_dump(mode="json", by_alias=True, exclude_unset=False)
    whole = networkx.MultiDiGraph(
        format=spec["format"],
        name=spec["name"],
        title=spec["title"],
        relations=spec["relations"],
        include=list(spec["include"]),
    )
    for name, kind in graph.kinds.items():
        whole.add_node(name, kind=kind, spec=spec[_BLOCK[kind]][name])
    for order, edge in enumerate(spec["edges"]):
        whole.add_edge(
            edge["from"], edge["to"], key=edge["relation"], strength=edge["strength"], tuned=edge["tuned"], order=order
        )
    return whole


def from_networkx(whole: networkx.MultiDiGraph, root: Path | None = None) -> AuxiliaryGraph:
    """Read back what `to_networkx` wrote.

    Raises:
        GraphFileError: attributes are missing or wrong.
    """
    try:
        content: dict[str, Any] = {key: whole.graph[key] for key in ("format", "name", "title", "relations", "include")}
        for name, attributes in whole.nodes(data=True):
            content.setdefault(_BLOCK[attributes["kind"]], {})[name] = attributes["spec"]
        edges = sorted(whole.edges(keys=True, data=True), key=lambda edge: edge[3]["order"])
        content["edges"] = [
            {"from": source, "to": target, "relation": relation, "strength": data["strength"], "tuned": data["tuned"]}
            for source, target, relation, data in edges
        ]
        spec = GraphSpec.model_validate(content)
        problems = [text for location, text in check_all(content, lambda *_: Path(__file__)) if location]
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise GraphFileError(f"not a graph that this package wrote: {error}") from None
    if problems:
        raise GraphFileError("\n".join(problems))
    return AuxiliaryGraph(spec, root or Path())


def to_node_link(graph: AuxiliaryGraph) -> str:
    return json.dumps(networkx.node_link_data(to_networkx(graph), edges="edges"), indent=2, ensure_ascii=False) + "\n"


def to_graphml(graph: AuxiliaryGraph) -> str:
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
    """Text too travels as JSON: XML has no place for most control characters and folds line ends."""
    return {
        k if isinstance(v, bool | int | float) else _PREFIX + k: v
        if isinstance(v, bool | int | float)
        else json.dumps(v)
        for k, v in attributes.items()
    }


def _decode(attributes: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(_PREFIX): json.loads(v) if k.startswith(_PREFIX) else v for k, v in attributes.items()}


def read_exchange(path: Path) -> AuxiliaryGraph:
    """Read a `.json` (node-link) or `.graphml` file.

    Raises:
        GraphFileError: missing, too large, not of that format, or not a valid graph.
    """
    try:
        if path.stat().st_size > 4 * MAX_BYTES:
            raise GraphFileError(f"{path}: more than {4 * MAX_BYTES:,} bytes.")
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            whole = networkx.node_link_graph(json.loads(text), edges="edges", multigraph=True, directed=True)
        else:
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise GraphFileError(f"{path}: a document type declaration. GraphML needs none: remove it.")
            flat = networkx.parse_graphml(text, force_multigraph=True)
            whole = networkx.MultiDiGraph(**_decode(flat.graph))
            for name, attributes in flat.nodes(data=True):
                whole.add_node(name, **_decode(attributes))
            for source, target, key, attributes in flat.edges(keys=True, data=True):
                whole.add_edge(source, target, key=key, **_decode(attributes))
    except GraphFileError:
        raise
    except FileNotFoundError:
        raise GraphFileError(f"{path}: no such file.") from None
    except (
        Exception
    ) as error:  # networkx raises whatever a malformed file leads it to: KeyError, TypeError, ParseError ...
        raise GraphFileError(
            f"{path}: not a node-link JSON or GraphML graph ({type(error).__name__}: {error})."
        ) from None
    try:
        return from_networkx(whole, path.parent)
    except GraphFileError as error:
        raise GraphFileError(f"{path}: {error}") from None


WRITERS = {".yaml": to_yaml, ".json": to_node_link, ".graphml": to_graphml}
