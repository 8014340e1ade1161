"""Graph-definition files -> `AuxiliaryGraph`. Reports ALL problems of a file and of what it includes at once, sorted by place."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from rag_graph.errors import GraphFileError, near_miss
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.checks import check_all
from rag_graph.graph.spec import FORMAT, Context, Criterion, Dataset, Edge, GraphSpec, Relation, Task
from rag_graph.graph.yaml_document import MAX_BYTES, Document, Location, Place, Problem, load_document
from rag_graph.records import METRIC_NAMES
from rag_graph.version import __version__

BLOCKS = ("relations", "tasks", "criteria", "contexts")
MAX_INCLUDES = 64
_GRAPHS = (Path(__file__).parent.parent / "graphs", Path(__file__).parent.parent.parent / "graphs")


def shipped_graphs() -> dict[str, Path]:
    """Name -> file of the graphs that come with the package."""
    return {
        path.stem: path for folder in reversed(_GRAPHS) if folder.is_dir() for path in sorted(folder.glob("*.yaml"))
    }


def find_graph(name_or_path: str | Path) -> Path:
    """A file as it is, else the shipped graph of that name.

    Raises:
        GraphFileError: neither exists.
    """
    path = Path(name_or_path)
    shipped = shipped_graphs()
    if path.suffix in (".yaml", ".yml", ".json", ".graphml") or path.is_file():
        return path
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise GraphFileError(
        f"{name_or_path}: no such file, and no shipped graph of that name.{near_miss(str(name_or_path), shipped)} Shipped: {', '.join(shipped)}."
    )


def read_graph(name_or_path: str | Path) -> AuxiliaryGraph:
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
    """Read a file and return the graph, or None and its problems, sorted by place and without repeats."""
    merged = _Merge(path)
    problems = merged.problems
    spec = None
    if merged.readable:
        spec, found = _validate(merged)
        problems += found
    problems = sorted(set(problems))
    if problems or spec is None:
        return None, problems
    return AuxiliaryGraph(spec, path.parent), []


class _Merge:
    """A file and everything it includes, as one map; remembers which file each location came from."""

    def __init__(self, path: Path) -> None:
        self.root = path.parent
        self.data: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self.readable = False
        self._documents: dict[
            Location, tuple[Document, Location]
        ] = {}  # merged location -> its document and place there
        self._folders: dict[Location, Path] = {}
        self._read: dict[Path, str] = {}
        document = self._load(path, str(path))
        self.main = document
        if document.data is not None and isinstance(document.data, dict):
            self.readable = True
            self._add(path, document, (path.resolve(),))

    def _load(self, path: Path, shown: str) -> Document:
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise IsADirectoryError("not a file")
            raw = path.read_bytes() if size <= MAX_BYTES else bytes(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            document = Document(shown)
            reason = "no such file." if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            document.problems.append(Problem(Place(shown, 1, 1), reason))
        else:
            document = load_document(raw, shown)
            if not document.problems and not isinstance(document.data, dict):
                document.problems.append(
                    Problem(Place(shown, 1, 1), "not a map. A graph file starts with 'format: 1' and 'name: ...'.")
                )
        self.problems += document.problems
        return document

    def _add(self, path: Path, document: Document, chain: tuple[Path, ...]) -> None:
        prefix = PurePosixPath(*path.resolve().parent.relative_to(self.root.resolve()).parts)
        includes = document.data.get("include")
        for index, include in enumerate(includes if isinstance(includes, list) else ()):
            if isinstance(include, str):
                self._include(path, document, index, include, chain)
        for key, value in document.data.items():
            if key in BLOCKS and isinstance(value, dict):
                for name, item in value.items():
                    self._claim((key, name), document, (key, name))
                    self.data.setdefault(key, {}).setdefault(name, _rebased(item, prefix))
            elif key == "edges" and isinstance(value, list):
                edges = self.data.setdefault("edges", [])
                for index, edge in enumerate(value):
                    self._documents[("edges", len(edges))] = (document, ("edges", index))
                    edges.append(edge)
            elif document is self.main:
                self.data[key] = value
            elif key not in ("format", "name", "title", "include", *BLOCKS, "edges"):
                # The main file's unknown keys are found by the model; an included file's must be found here.
                known = list(GraphSpec.model_fields)
                self.problems.append(
                    Problem(document.place((key,), of_key=True), f"unknown key '{key}'.{near_miss(key, known)}")
                )
            elif key in (*BLOCKS, "edges", "include") and value is not None:
                self.problems.append(
                    Problem(
                        document.place((key,)),
                        f"{key}: a {'list' if key in ('edges', 'include') else 'map'} is expected.",
                    )
                )

    def _claim(self, location: Location, document: Document, own: Location) -> None:
        if location in self._documents:
            first, place = self._documents[location]
            if first is not document:
                here = document.place(own, of_key=True)
                there = first.place(place, of_key=True)
                self.problems.append(
                    Problem(
                        here, f"{'.'.join(map(str, own))}: defined in {there} too. Includes never override: keep one."
                    )
                )
            return
        self._documents[location] = (document, own)

    def _include(self, path: Path, document: Document, index: int, include: str, chain: tuple[Path, ...]) -> None:
        place = document.place(("include", index))
        target = self.resolve_in(path.parent, include)
        if target is None:
            self.problems.append(
                Problem(
                    place,
                    f"include '{include}' leaves the folder of the graph. Includes stay below {self.root or '.'}.",
                )
            )
        elif target in chain:
            names = " -> ".join(p.name for p in (*chain[chain.index(target) :], target))
            self.problems.append(Problem(place, f"includes form a cycle: {names}. Remove one of them."))
        elif target in self._read:
            return
        elif len(self._read) >= MAX_INCLUDES:
            self.problems.append(Problem(place, f"more than {MAX_INCLUDES} included files."))
        else:
            shown = str(path.parent / include)
            self._read[target] = shown
            if not target.is_file():
                self.problems.append(Problem(place, f"include '{include}': no such file."))
                return
            included = self._load(target, shown)
            if isinstance(included.data, dict):
                if included.data.get("format", FORMAT) != FORMAT:
                    self.problems.append(Problem(included.place(("format",)), _format_message(included.data["format"])))
                self._add(target, included, (*chain, target))

    def resolve_in(self, folder: Path, stated: str) -> Path | None:
        """The file that a stated path names, or None where it leaves the root (by .., an absolute path or a link)."""
        try:
            target = (folder / stated).resolve()
            root = self.root.resolve()
        except (OSError, ValueError, RuntimeError):
            return None
        return target if target.is_relative_to(root) else None

    def place(self, location: Location, of_key: bool = False) -> Place:
        """The place of a location of the merged map in the file that states it."""
        for length in (2, 1):
            if location[:length] in self._documents:
                document, own = self._documents[location[:length]]
                return document.place((*own, *location[length:]), of_key)
        return self.main.place(location, of_key)


def _rebased(item: Any, prefix: PurePosixPath) -> Any:
    """Make the paths of an included file relative to the root, so that the merged graph stands alone."""
    if not isinstance(item, dict) or not prefix.parts:
        return item
    item = dict(item)
    if isinstance(item.get("file"), str):
        item["file"] = str(prefix / item["file"])
    if isinstance(item.get("dataset"), dict):
        item["dataset"] = {
            key: str(prefix / value)
            if key in ("path", "test") and isinstance(value, str) and item["dataset"].get("path")
            else value
            for key, value in item["dataset"].items()
        }
    return item


def _validate(merged: _Merge) -> tuple[GraphSpec | None, list[Problem]]:
    problems = []
    spec = None
    try:
        spec = GraphSpec.model_validate(merged.data)
    except ValidationError as error:
        for problem in error.errors():
            location = _in_document(problem["loc"])
            text = _explain(problem, location)
            shown = _dotted(location)
            of_key = problem["type"] == "extra_forbidden" or "[key]" in problem["loc"]
            problems.append(Problem(merged.place(location, of_key=of_key), f"{shown}: {text}" if shown else text))
    for location, text in check_all(merged.data, lambda _, stated: merged.resolve_in(merged.root, stated)):
        key_like = (
            location[-1] == "tasks" or (len(location) == 2 and location[0] in BLOCKS) or location[-2:-1] == ("args",)
        )
        problems.append(Problem(merged.place(location, of_key=key_like), f"{_dotted(location)}: {text}"))
    return spec, problems


def _in_document(loc: tuple[int | str, ...]) -> Location:
    """Drop the parts of a pydantic location that no document has: union tags, model names, '[key]'."""
    tags = {"[key]", "str", "int", "float", "tuple[str, ...]", "dict[str,str]", "function-plain"}
    return tuple(
        part
        for part in loc
        if not (isinstance(part, str) and (part in tags or part.startswith(("tuple[", "dict[", "constrained-"))))
    )


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


_MODELS: dict[str, type] = {
    "relations": Relation,
    "tasks": Task,
    "criteria": Criterion,
    "contexts": Context,
    "edges": Edge,
}


def _known_keys(location: Location) -> list[str]:
    if len(location) == 1:
        return list(GraphSpec.model_fields)
    if location[-2] == "dataset":
        return list(Dataset.model_fields)
    model = _MODELS.get(str(location[0]))
    return [field.alias or name for name, field in model.model_fields.items()] if model else []  # type: ignore[attr-defined]


def _format_message(given: Any) -> str:
    if isinstance(given, int) and not isinstance(given, bool) and given > FORMAT:
        return f"format: {given} is newer than this package reads (rag_graph {__version__} reads format {FORMAT}). Upgrade rag_graph."
    return f"format: {given!r} is not a format. Write 'format: {FORMAT}'."


def _explain(problem: Any, location: Location) -> str:
    kind, given = problem["type"], problem.get("input")
    context = problem.get("ctx", {})
    last = location[-1] if location else ""
    if location == ("format",) and kind != "missing":
        return _format_message(given).removeprefix("format: ")
    if kind == "extra_forbidden":
        return f"unknown key '{last}'.{near_miss(str(last), _known_keys(location))}"
    if kind == "missing":
        return f"'{last}' is missing."
    if kind == "literal_error":
        known = (
            METRIC_NAMES
            if "metric" in str(location) and last != "kind"
            else tuple(str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", "))
        )
        return f"unknown value {given!r}.{near_miss(str(given), known)} Known: {', '.join(known)}."
    if kind in ("less_than_equal", "greater_than_equal"):
        side = f"above {context['le']:g}" if kind == "less_than_equal" else f"below {context['ge']:g}"
        meaning = (
            "A strength is a number from 0 to 1."
            if last == "strength"
            else "A weight is a number from 0 to 1000."
            if last != "limit"
            else "Give a whole number from 1."
        )
        return f"{given} is {side}. {meaning}"
    if kind == "string_pattern_mismatch":
        return f"{given!r} is not a name. A name starts with a letter and has letters, digits, _ and -, at most 64."
    shown = repr(given) if isinstance(given, str | int | float | bool | None) else f"a {type(given).__name__}"
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]}, {shown[:80]} given."
