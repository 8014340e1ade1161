"""Whatever can be a graph -> `AuxiliaryGraph`: files, shipped names, YAML text, networkx graphs, values from Python. Reports all problems of a
file and its includes at once, sorted by place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import networkx

from rag_graph.config import GRAPH_FILES
from rag_graph.errors import GraphFileError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.checks import slow_patterns
from rag_graph.graph.effects import without_effect
from rag_graph.graph.explain import dotted
from rag_graph.graph.merge import MergedGraph, Source, is_file
from rag_graph.graph.validate import read_spec
from rag_graph.yaml_document import Location, Problem

_GRAPHS = (Path(__file__).parent.parent / "graphs", Path(__file__).parent.parent.parent / "graphs")


def shipped_graphs() -> dict[str, Path]:
    """Name -> file of the shipped graphs."""
    return {
        path.stem: path for folder in reversed(_GRAPHS) if folder.is_dir() for path in sorted(folder.glob("*.yaml"))
    }


def find_graph(name_or_path: str | Path) -> Path:
    """The file of this name, or else the shipped graph of this name.

    Raises:
        GraphFileError: neither exists.
    """
    path = Path(name_or_path)
    shipped = shipped_graphs()
    if path.suffix in GRAPH_FILES or is_file(path):
        return path
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise GraphFileError(
        f"{str(name_or_path)[:200]}: no such file, and no shipped graph of that name.{near_miss(str(name_or_path), shipped)} Shipped: {', '.join(shipped)}."
    )


GraphSource: TypeAlias = AuxiliaryGraph | str | Path | networkx.Graph
"""What is accepted wherever a graph is: a graph, a path, the name of a shipped graph, YAML text, or a directed networkx graph."""


def load_graph(source: GraphSource) -> AuxiliaryGraph:
    """Make a graph of whatever can be one; the same checks everywhere.

    Args:
        source: a graph-definition file (.yaml, .json, .graphml); the name of a shipped graph; YAML text, which is a string of several lines;
            a directed networkx graph (`AuxiliaryGraph.from_networkx`); or an `AuxiliaryGraph`, which is returned as it is.

    Raises:
        GraphFileError: with every problem on a line of its own, `file:line:column: place: what`; `<text>` is the file of YAML text, and what
            came from Python has a place only.
    """
    if isinstance(source, AuxiliaryGraph):
        return source
    if isinstance(source, networkx.Graph):
        return AuxiliaryGraph.from_networkx(source)
    if not isinstance(source, str | Path):
        raise GraphFileError(
            f"a {type(source).__name__} is no graph. Give a path, the name of a shipped graph, YAML text, a networkx.DiGraph, or "
            "AuxiliaryGraph.build(tasks=..., criteria=..., edges=...)."
        )
    graph, problems = check_graph(source if is_text(source) else find_graph(source))
    if graph is None:
        raise GraphFileError("\n".join(map(str, problems)))
    return graph


def is_text(source: GraphSource) -> bool:
    """True for YAML text: a string of several lines, or one that starts with a brace."""
    return isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{"))


def check_graph(source: Source) -> tuple[AuxiliaryGraph | None, list[Problem]]:
    """Read a file (a Path: YAML, node-link JSON or GraphML), YAML text (a string) or content from Python (a map).

    Returns:
        the graph, or None and its problems, sorted by place.
    """
    read = read_spec(source)
    if read.spec is None:
        return None, read.problems
    return AuxiliaryGraph(read.spec, read.root, None if isinstance(source, Mapping) else source), []


def problems_at(
    graph: AuxiliaryGraph, found: Iterable[tuple[Location, str]], before: str = "", of_key: bool = False
) -> list[Problem]:
    """Sentences about locations of a graph as problems, sorted by their places in the file and its includes; without places where the graph was
    built in Python.

    Args:
        before: what each text begins with, before its location.
        of_key: the place of the key, not of its value. The whole block `edges` is always at its key.
    """
    merged = MergedGraph({} if graph.origin is None else graph.origin, graph.root)
    problems = []
    for location, text in found:
        document, own = merged.owner(location)
        place = document.place(own, of_key or location == ("edges",))
        problems.append(Problem(place, f"{before}{dotted(own)}: {text}"))
    return sorted(problems)


def graph_warnings(source: GraphSource) -> list[Problem]:
    """What can have no effect in a graph (see `load_graph` for what can be one): a graph without rules, where every goal is observed; facts and
    rules that no goal depends on. Each has its place in the file or its includes, and they are sorted by place. Nothing of it is an error.

    Raises:
        GraphFileError: a file with problems, as in `load_graph`.
    """
    graph = load_graph(source)
    return problems_at(graph, [*without_effect(graph), *slow_patterns(graph.spec.criteria)], "warning: ")


def edge_places(path: Path) -> list[str]:
    """`file:line` of each relation of a graph file and its includes, in the order of the edges of the graph."""
    merged = MergedGraph(path)
    found = []
    for index in range(len(merged.data.get("edges") or [])):
        document, location = merged.owner(("edges", index))
        place = document.place(location)
        found.append(f"{_from_here(place.file)}:{place.line}")
    return found


def places_of(graph: AuxiliaryGraph) -> list[str]:
    """`edge_places` of a graph; empty where it came from no file, or the file is gone."""
    try:
        return edge_places(graph.origin) if isinstance(graph.origin, Path) else []
    except (GraphFileError, OSError):
        return []


def _from_here(file: str) -> str:
    """Relative to the current folder if the file is below it."""
    path = Path(file).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
