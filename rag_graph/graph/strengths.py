"""Learned strengths: written beside a run's results, and spliced into the researcher's file only when asked.

The splice changes the numbers and nothing else: comments, order and alignment stay, so that the diff shows what changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from rag_graph.errors import GraphFileError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.merge import MergedGraph
from rag_graph.graph.reader import read_graph
from rag_graph.graph.spec import Edge
from rag_graph.yaml_document import Document, Location, load_document, read_bounded

Key = tuple[str, str, str]


def key_of(edge: Edge) -> Key:
    return edge.source, edge.target, edge.relation


def strengths_yaml(stated: AuxiliaryGraph, learned: AuxiliaryGraph) -> str:
    """One relation a line: ends, relation, learned strength, and what the file says."""
    lines = [
        f"# Strengths of graph {stated.name} as learned. Apply them: rag-graph graph apply RUN FILE",
        f"graph: {stated.name}",
        "edges:" if stated.spec.edges else "edges: []",
    ]
    for before, after in zip(stated.spec.edges, learned.spec.edges, strict=True):
        frozen = "" if before.tuned else ", tuned: false"
        lines.append(
            f"  - {{from: {before.source}, to: {before.target}, relation: {before.relation}, "
            f"strength: {after.strength:.3f}, was: {before.strength:g}{frozen}}}"
        )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Change:
    """A strength that `apply_strengths` changes."""

    file: Path
    line: int
    edge: Key
    before: float
    after: float

    def __str__(self) -> str:
        source, target, relation = self.edge
        return f"{self.file}:{self.line}: {source} -> {target} {relation}: {self.before:g} -> {self.after:g}"


def read_strengths(path: Path) -> dict[Key, float]:
    """What `strengths_yaml` wrote: relation -> learned strength.

    Raises:
        GraphFileError: missing or malformed.
    """
    try:
        document = load_document(read_bounded(path), str(path))
    except OSError as error:
        raise GraphFileError(f"{path}: {error.strerror or error}. A run that has ended has a strengths.yaml.") from None
    if document.problems:
        raise GraphFileError("\n".join(map(str, document.problems)))
    try:
        edges = [
            (str(e["from"]), str(e["to"]), str(e["relation"]), float(e["strength"])) for e in document.data["edges"]
        ]
    except (TypeError, KeyError, ValueError):
        raise GraphFileError(
            f"{path}: not a file of strengths: 'edges' with from, to, relation and strength is expected."
        ) from None
    bad = [edge for edge in edges if not 0 <= edge[3] <= 1]
    if bad:
        raise GraphFileError(f"{path}: strength {bad[0][3]} of {bad[0][0]} -> {bad[0][1]} is not a number from 0 to 1.")
    return {(source, target, relation): strength for source, target, relation, strength in edges}


def apply_strengths(path: Path, learned: dict[Key, float]) -> tuple[dict[Path, str], list[Change]]:
    """Splice strengths into a graph file and the files that it includes. Nothing is written.

    Args:
        learned: relation -> strength; relations with `tuned: false` are left as they are.

    Returns:
        new texts of the files that change, and what changes.

    Raises:
        GraphFileError: the file does not read, is no YAML, or lacks one of the relations.
    """
    graph = read_graph(path)
    if path.suffix not in (".yaml", ".yml"):
        raise GraphFileError(
            f"{path}: strengths are spliced into YAML files. Convert it first: rag-graph graph convert."
        )
    known = {key_of(edge) for edge in graph.spec.edges}
    missing = [key for key in learned if key not in known]
    if missing:
        source, target, relation = missing[0]
        raise GraphFileError(
            f"{path}: no relation {source} -> {target} {relation}, which the strengths name ({len(missing)} missing). Is it the graph of that run?"
        )
    merged = MergedGraph(path)
    splices: dict[Path, list[tuple[int, int, int, str]]] = {}
    changes = []
    for index, edge in enumerate(graph.spec.edges):
        after = round(learned.get(key_of(edge), edge.strength), 3)
        if not edge.tuned or after == round(edge.strength, 3):
            continue
        document, location = merged.owner(("edges", index))
        file = Path(document.file)
        line, start, end, text = _place(document, location, file, f"{after:g}")
        splices.setdefault(file, []).append((line, start, end, text))
        changes.append(Change(file, line + 1, key_of(edge), edge.strength, after))
    return {file: _spliced(file, places) for file, places in splices.items()}, changes


def _place(document: Document, location: Location, file: Path, number: str) -> tuple[int, int, int, str]:
    """(line, start, end, text), counted from 0: what to put where."""
    lines = _text(file).splitlines(keepends=True)
    stated = document.values.get((*location, "strength"))
    if stated is not None:
        line, start = stated.line - 1, stated.column - 1
        end = start
        while end < len(lines[line]) and lines[line][end] not in " ,}]\t\r\n#":
            end += 1
        return line, start, end, number
    # The file leaves the strength at its default: it is stated behind the relation.
    relation = document.values[(*location, "relation")]
    key = document.keys[(*location, "relation")]
    line, start = relation.line - 1, relation.column - 1
    quote = lines[line][start] if lines[line][start] in "'\"" else ""
    end = lines[line].index(quote, start + 1) + 1 if quote else start
    while not quote and end < len(lines[line]) and lines[line][end] not in " ,}]\t\r\n#":
        end += 1
    flow = document.place(location).line == key.line and "{" in lines[line][: key.column]
    text = f", strength: {number}" if flow else f"\n{' ' * (key.column - 1)}strength: {number}"
    return line, end, end, text


def _text(file: Path) -> str:
    with file.open(encoding="utf-8-sig", newline="") as handle:
        return handle.read()


def _spliced(file: Path, places: list[tuple[int, int, int, str]]) -> str:
    lines = _text(file).splitlines(keepends=True)
    for line, start, end, text in sorted(places, reverse=True):
        lines[line] = lines[line][:start] + text + lines[line][end:]
    result = "".join(lines)
    yaml.safe_load(result)
    return result
