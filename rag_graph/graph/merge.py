"""Merges a graph file and its includes into one map, and remembers the file of each location. YAML text and plain values from Python are
read in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from rag_graph.errors import GraphFileError
from rag_graph.graph.exchange import read_content
from rag_graph.graph.explain import dotted, explain, location_in
from rag_graph.graph.spec import GraphSpec
from rag_graph.yaml_document import Document, Location, Place, Problem, load_document, read_bounded

BLOCKS = ("relations", "tasks", "criteria", "contexts")
MAX_INCLUDES = 64
Source = Path | str | Mapping[str, Any]
"""A file; YAML text, whose paths start from the current folder; or the content itself, from Python, which has places in no file."""
TEXT = "<text>"
"""What stands for the file in the problems of YAML text."""


class MergedGraph:
    """
    data: the content of all files, in the shape of one file.
    problems: all problems of reading and merging.
    readable: False if the main file is not a map.

    Args:
        root: the folder that paths start from; default the folder of the file, else the current one.
    """

    def __init__(self, source: Source, root: Path | None = None) -> None:
        path = source if isinstance(source, Path) else Path(TEXT)
        self.root = path.parent if root is None else root
        self.data: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self._owners: dict[Location, tuple[Document, Location]] = {}  # merged location -> its document and place there
        self._read: set[Path] = set()
        if isinstance(source, Path):
            self.main = self._load(path, str(path))
        elif isinstance(source, str):
            self.main = self._checked(load_document(source.encode("utf-8", "surrogatepass"), TEXT))
        else:
            self.main = Document("", dict(source))
        self.readable = isinstance(self.main.data, dict)
        if self.readable:
            self._add(self.root, self.main, (path.absolute(),))
            self.data.pop("include", None)

    def _load(self, path: Path, shown: str) -> Document:
        document = Document(shown)
        try:
            if path.suffix in (".json", ".graphml"):
                document.data = read_content(path)
            else:
                return self._checked(load_document(read_bounded(path), shown))
        except GraphFileError as error:
            document.problems.append(Problem(Place(shown, 1, 1), str(error).removeprefix(f"{path}:1:1: ")))
        except OSError as error:
            reason = (
                "no such file."
                if isinstance(error, FileNotFoundError)
                else f"cannot be read: {error.strerror or error}"
            )
            document.problems.append(Problem(Place(shown, 1, 1), reason))
        self.problems += document.problems
        return document

    def _checked(self, document: Document) -> Document:
        if not document.problems and not isinstance(document.data, dict):
            text = "not a map. A graph file starts with 'format: 1' and 'name: ...'."
            document.problems.append(Problem(Place(document.file, 1, 1), text))
        self.problems += document.problems
        return document

    def _add(self, folder: Path, document: Document, chain: tuple[Path, ...]) -> None:
        """Add a document of `folder`, and its includes."""
        for index, include in enumerate(_list(document.data.get("include"))):
            if isinstance(include, str):
                self._include(folder, document, index, include, chain)
        rest = {}
        for key, value in document.data.items():
            if key in BLOCKS and isinstance(value, dict):
                for name, item in value.items():
                    self._claim((key, name), document)
                    self.data.setdefault(key, {}).setdefault(name, self._rebased(item, folder))
            elif key == "edges" and isinstance(value, list):
                edges = self.data.setdefault("edges", [])
                for index, edge in enumerate(value):
                    self._owners[("edges", len(edges))] = (document, ("edges", index))
                    edges.append(edge)
            else:
                rest[key] = value
        if document is self.main:
            self.data.update(rest)
        else:
            self._check_head(document, rest)

    def _check_head(self, document: Document, rest: dict[str, Any]) -> None:
        """An included file may repeat format, name and title, if they are well formed."""
        try:
            GraphSpec.model_validate({"format": 1, "name": "included", **rest})
        except ValidationError as error:
            for problem in error.errors():
                location = location_in(document.data, problem["loc"], problem["type"])
                place = document.place(location, of_key=problem["type"] == "extra_forbidden")
                self.problems.append(Problem(place, f"{dotted(location)}: {explain(problem, location)}"))

    def _claim(self, location: Location, document: Document) -> None:
        first, _ = self._owners.setdefault(location, (document, location))
        if first is not document:
            here, there = document.place(location, of_key=True), first.place(location, of_key=True)
            self.problems.append(
                Problem(here, f"{dotted(location)}: defined in {there} too. Includes never override: keep one.")
            )

    def _include(self, folder: Path, document: Document, index: int, include: str, chain: tuple[Path, ...]) -> None:
        place = document.place(("include", index))
        target = self.resolve_in(folder, include)
        if target is None:
            self.problems.append(
                Problem(place, f"include '{include}' leaves the folder of the graph. Includes stay below it.")
            )
        elif target in [step.resolve() for step in chain]:
            start = [step.resolve() for step in chain].index(target)
            names = " -> ".join(step.name for step in (*chain[start:], target))
            self.problems.append(Problem(place, f"includes form a cycle: {names}. Remove one of them."))
        elif target in self._read:
            return
        elif len(self._read) >= MAX_INCLUDES:
            self.problems.append(Problem(place, f"more than {MAX_INCLUDES} included files."))
        else:
            self._read.add(target)
            if not is_file(target):
                self.problems.append(Problem(place, f"include '{include}': no such file."))
                return
            path = folder / include
            included = self._load(path, str(path))
            if isinstance(included.data, dict):
                self._add(path.parent, included, (*chain, path))

    def resolve_in(self, folder: Path, stated: str) -> Path | None:
        """The file of a path in a graph file, or None if it leaves the root (by .., an absolute path or a link)."""
        try:
            target = (folder / stated).resolve()
            root = self.root.resolve()
        except (OSError, ValueError, RuntimeError):
            return None
        return target if target.is_relative_to(root) else None

    def _rebased(self, item: Any, folder: Path) -> Any:
        """Make the paths of an included file relative to the root, so that the merged graph needs no other file. A path
        that names no file beside the included one does not change: it refers to the root or to $RAG_GRAPH_DATA."""
        if not isinstance(item, dict) or folder == self.root:
            return item

        def rebase(stated: Any) -> Any:
            if not isinstance(stated, str) or not is_file(folder / stated):
                return stated
            return str(PurePosixPath(*folder.relative_to(self.root).parts) / stated)

        item = {**item, **({"file": rebase(item["file"])} if "file" in item else {})}
        dataset = item.get("dataset")
        if isinstance(dataset, dict) and dataset.get("path"):
            item["dataset"] = {
                key: rebase(value) if key in ("path", "test") else value for key, value in dataset.items()
            }
        return item

    def owner(self, location: Location) -> tuple[Document, Location]:
        """The document that contains a merged location, and the location in it."""
        for length in (2, 1):
            if location[:length] in self._owners:
                document, own = self._owners[location[:length]]
                return document, (*own, *location[length:])
        return self.main, location


def is_file(path: Path) -> bool:
    """Also False for a path that the system refuses: too long, a null byte, a folder without permission."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
