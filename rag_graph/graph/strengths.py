"""Learned strengths: written beside the results of a run, and put into a graph file on request.

Only the numbers change. Comments, order and alignment stay, so a diff shows exactly the changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rag_graph.errors import GraphFileError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.merge import MergedGraph
from rag_graph.graph.proposal import role_change
from rag_graph.graph.reader import load_graph
from rag_graph.graph.spec import Edge, Role
from rag_graph.yaml_document import Document, Location, Place, load_document, read_bounded

Key = tuple[str, str, str]


def key_of(edge: Edge) -> Key:
    return edge.source, edge.target, edge.relation


def strengths_yaml(stated: AuxiliaryGraph, learned: AuxiliaryGraph) -> str:
    """One relation per line: its ends, its type, the learned strength, and the strength of the file."""
    lines = [
        f"# Strengths of graph {stated.name} as learned. Apply them: rag-graph graph apply RUN FILE",
        f"graph: {stated.name}",
        "edges:" if stated.spec.edges else "edges: []",
    ]
    for before, after in zip(stated.spec.edges, learned.spec.edges, strict=True):
        frozen = "" if before.tuned else ", tuned: false"
        moved = before.tuned and abs(after.strength - before.strength) > 1e-6
        source, target, relation = (_name(part) for part in key_of(before))
        lines.append(
            f"  - {{from: {source}, to: {target}, relation: {relation}, "
            f"strength: {f'{after.strength:.3f}' if moved else f'{before.strength:g}'}, was: {before.strength:g}{frozen}}}"
        )
    return "\n".join(lines) + "\n"


def _name(text: str) -> str:
    """With quotes if YAML would read another value, such as null or true."""
    return text if load_document(text.encode(), "").data == text else f'"{text}"'


@dataclass(frozen=True, slots=True)
class Learned:
    """A learned strength, and the strength of the file at that time."""

    strength: float
    was: float


@dataclass(frozen=True, slots=True)
class Change:
    """A strength that `apply_strengths` changes."""

    file: Path
    line: int
    edge: Key
    role: Role
    before: float
    after: float

    def __str__(self) -> str:
        source, target, relation = self.edge
        return (
            f"{self.file}:{self.line}: {source} -> {target} {relation} ({self.role}): {self.before:g} -> {self.after:g}"
        )


def read_strengths(path: Path) -> dict[Key, Learned]:
    """The strengths that `strengths_yaml` wrote, by relation.

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
            ((str(e["from"]), str(e["to"]), str(e["relation"])), Learned(float(e["strength"]), float(e["was"])))
            for e in document.data["edges"]
        ]
    except (TypeError, KeyError, ValueError, OverflowError):
        raise GraphFileError(
            f"{path}: not a file of strengths: 'edges' with from, to, relation, strength and was is expected."
        ) from None
    for (source, target, _), learned in edges:
        for number in (learned.strength, learned.was):
            if not 0 <= number <= 1:
                raise GraphFileError(f"{path}: strength {number} of {source} -> {target} is not a number from 0 to 1.")
    return dict(edges)


def strengths_between(learned: Mapping[Key, Learned], pairs: Iterable[str]) -> dict[Key, Learned]:
    """The strengths of relations between some pairs of nodes.

    Args:
        pairs: each as "source>target".

    Raises:
        GraphFileError: there is no relation between such a pair.
    """
    kept: dict[Key, Learned] = {}
    for pair in pairs:
        ends = tuple(part.strip() for part in pair.split(">"))
        found = {key: value for key, value in learned.items() if key[:2] == ends}
        if not found:
            known = sorted({f"{key[0]}>{key[1]}" for key in learned})
            raise GraphFileError(
                f"--only {pair}: the strengths have no such relation.{near_miss(pair, known)} Known: {', '.join(known)}"
            )
        kept |= found
    return kept


def apply_strengths(
    path: Path, learned: Mapping[Key, Learned], force: bool = False
) -> tuple[dict[Path, str], list[Change]]:
    """Put strengths into the text of a graph file and of its includes. Nothing is written.

    Args:
        learned: by relation; relations with `tuned: false` do not change.
        force: also change strengths that the file has changed since they were learned.

    Returns:
        the new texts of the files that change, and the changes.

    Raises:
        GraphFileError: the file cannot be read, is not YAML, lacks one of the relations, has changed since, or is written in a way
            that does not allow a safe change.
    """
    graph = load_graph(path)
    known = {key_of(edge) for edge in graph.spec.edges}
    missing = [key for key in learned if key not in known]
    if missing:
        source, target, relation = missing[0]
        now = [edge.relation for edge in graph.spec.edges if key_of(edge)[:2] == (source, target)]
        turned = f" It is now {now[0]}{role_change(relation, now[0])}." if now else ""
        raise GraphFileError(
            f"{path}: no relation {source} -> {target} {relation}, which the strengths name ({len(missing)} missing).{turned} Is it the graph of that run?"
        )
    merged = MergedGraph(path)
    splices: dict[Path, list[tuple[int, int, str]]] = {}
    changes = []
    for index, edge in enumerate(graph.spec.edges):
        found = learned.get(key_of(edge))
        if found is None or not edge.tuned or round(found.strength, 3) == round(edge.strength, 3):
            continue
        document, location = merged.owner(("edges", index))
        file = Path(document.file)
        if file.suffix not in (".yaml", ".yml"):
            raise GraphFileError(
                f"{file}: strengths are spliced into YAML files. Convert it first: rag-graph graph convert."
            )
        line = document.place(location).line
        if not force and abs(found.was - edge.strength) > 1e-6:
            raise GraphFileError(
                f"{file}:{line}: {' '.join(key_of(edge))} is {edge.strength:g} now and was {found.was:g} when its strength was learned. "
                "Look at it, or apply with --force."
            )
        number = f"{round(found.strength, 3):g}"
        splices.setdefault(file, []).append(_place(document, location, file, number))
        changes.append(Change(file, line, key_of(edge), graph.role(edge), edge.strength, float(number)))
    texts = {file: _spliced(file, places) for file, places in splices.items()}
    wanted = {(c.file, c.edge): c.after for c in changes}
    for file, text in texts.items():
        _check(file, text, {edge: after for (changed, edge), after in wanted.items() if changed == file})
    return texts, changes


def _place(document: Document, location: Location, file: Path, number: str) -> tuple[int, int, str]:
    """(start, end, text): the replacement of a range; offsets start at 0."""
    text = _text(file)
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))

    def offset(place: Place) -> int:
        return lines[place.line - 1] + place.column - 1

    stated = document.values.get((*location, "strength"))
    if stated is not None:
        start = offset(stated)
        return start, _end(text, start), number
    # The file has no strength here: it is written after the relation.
    key, start = document.keys[(*location, "relation")], offset(document.values[(*location, "relation")])
    end = _end(text, start)
    if text[offset(document.place(location))] == "{":
        return end, end, f", strength: {number}"
    newline = "\r\n" if "\r\n" in text else "\n"
    return offset(key), offset(key), f"strength: {number}{newline}{' ' * (key.column - 1)}"


def _end(text: str, start: int) -> int:
    """The end of a scalar that starts at `start`, with or without quotes."""
    quote = text[start] if text[start] in "'\"" else ""
    if quote:
        return text.index(quote, start + 1) + 1
    end = start
    while end < len(text) and text[end] not in " ,}]\t\r\n":
        end += 1
    return end


def _text(file: Path) -> str:
    with file.open(encoding="utf-8-sig", newline="") as handle:
        return handle.read()


def _spliced(file: Path, places: list[tuple[int, int, str]]) -> str:
    text = _text(file)
    for start, end, new in sorted(places, reverse=True):
        text = text[:start] + new + text[end:]
    return ("\ufeff" if file.read_bytes().startswith(b"\xef\xbb\xbf") else "") + text


def _check(file: Path, text: str, wanted: Mapping[Key, float]) -> None:
    """Check that the new text has the same content as the old one, with these strengths."""
    before, after = load_document(file.read_bytes(), str(file)), load_document(text.encode(), str(file))
    for edge in (before.data or {}).get("edges") or []:
        key = edge["from"], edge["to"], edge["relation"]
        if key in wanted:
            edge["strength"] = wanted[key]
    if after.problems or after.data != before.data:
        raise GraphFileError(
            f"{file}: the relations are written in a way that a number cannot be put into safely. State every strength in the file, "
            "as in '{from: a, to: b, relation: supports, strength: 0.5}', and apply again. Nothing was written."
        )
