"""Graph-definition files -> `AuxiliaryGraph`. Reports all problems of a file and its includes at once, sorted by place."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from rag_graph.errors import GraphFileError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.checks import check_all
from rag_graph.graph.effects import without_effect
from rag_graph.graph.explain import dotted, explain, location_in
from rag_graph.graph.merge import BLOCKS, MergedGraph, is_file
from rag_graph.graph.spec import GraphSpec
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
    if path.suffix in (".yaml", ".yml", ".json", ".graphml") or is_file(path):
        return path
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise GraphFileError(
        f"{str(name_or_path)[:200]}: no such file, and no shipped graph of that name.{near_miss(str(name_or_path), shipped)} Shipped: {', '.join(shipped)}."
    )


def load_graph(name_or_path: str | Path) -> AuxiliaryGraph:
    """Read a graph-definition file, or a shipped graph by name.

    Raises:
        GraphFileError: with every problem on a line of its own, `file:line:column: place: what`.
    """
    path = find_graph(name_or_path)
    graph, problems = check_graph(path)
    if graph is None:
        raise GraphFileError("\n".join(map(str, problems)))
    return graph


def check_graph(path: Path) -> tuple[AuxiliaryGraph | None, list[Problem]]:
    """Read a file (YAML, node-link JSON or GraphML) and return the graph, or None and its problems, sorted by place."""
    merged = MergedGraph(path)
    problems = list(merged.problems)
    spec = None
    if merged.readable:
        spec, found = _validate(merged)
        problems += found
    problems = sorted(set(problems))
    if problems or spec is None:
        return None, problems
    return AuxiliaryGraph(spec, path.parent), []


def graph_warnings(name_or_path: str | Path) -> list[Problem]:
    """What can have no effect in a graph-definition file, or in a shipped graph: a graph without rules, where every goal is observed; facts and
    rules that no goal depends on. Each has its place in the file or its includes, and they are sorted by place. Nothing of it is an error.

    Raises:
        GraphFileError: a file with problems, as in `load_graph`.
    """
    path = find_graph(name_or_path)
    merged = MergedGraph(path)
    found = []
    for location, text in without_effect(load_graph(path)):
        document, own = merged.owner(location)
        place = document.place(own, of_key=location == ("edges",))
        found.append(Problem(place, f"warning: {dotted(own)}: {text}"))
    return sorted(found)


def edge_places(path: Path) -> list[str]:
    """`file:line` of each relation of a graph file and its includes, in the order of the edges of the graph."""
    merged = MergedGraph(path)
    found = []
    for index in range(len(merged.data.get("edges") or [])):
        document, location = merged.owner(("edges", index))
        place = document.place(location)
        found.append(f"{_from_here(place.file)}:{place.line}")
    return found


def places_of(name_or_path: str | Path | None) -> list[str]:
    """`edge_places` of a graph by file or name; empty where the graph came from no file."""
    if name_or_path is None:
        return []
    try:
        return edge_places(find_graph(name_or_path))
    except (GraphFileError, OSError):
        return []


def _from_here(file: str) -> str:
    """Relative to the current folder if the file is below it."""
    path = Path(file).absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _validate(merged: MergedGraph) -> tuple[GraphSpec | None, list[Problem]]:
    problems = []
    spec = None

    def add(location: Location, text: str, of_key: bool) -> None:
        document, own = merged.owner(location)
        problems.append(Problem(document.place(own, of_key), f"{dotted(own)}: {text}" if own else text))

    try:
        spec = GraphSpec.model_validate(merged.data)
    except ValidationError as error:
        for problem in error.errors():
            location = location_in(merged.data, problem["loc"], problem["type"])
            text = explain(problem, location)
            if text:
                add(location, text, problem["type"] == "extra_forbidden" or "[key]" in problem["loc"])
    for location, text in check_all(merged.data, lambda stated: merged.resolve_in(merged.root, stated)):
        in_block = len(location) == 2 and location[0] in BLOCKS
        add(location, text, of_key=location[-1] == "tasks" or in_block or location[-2:-1] == ("args",))
    return spec, problems
