"""A file, YAML text or values from Python -> `GraphSpec`, with all checks. Reports all problems of a file and its includes at once, sorted by
place."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rag_graph.errors import GraphFileError
from rag_graph.graph.checks import check_all
from rag_graph.graph.explain import dotted, explain, location_in
from rag_graph.graph.merge import BLOCKS, MergedGraph, Source
from rag_graph.graph.spec import GraphSpec
from rag_graph.yaml_document import MAX_PROBLEMS, Location, Problem


class ReadSpec(NamedTuple):
    """The specification, or None and the problems; and the folder that its paths start from."""

    spec: GraphSpec | None
    problems: list[Problem]
    root: Path


def read_spec(source: Source, root: Path | None = None) -> ReadSpec:
    """Read and check.

    Args:
        root: the folder that paths start from; default the folder of the file, else the current one.
    """
    merged = MergedGraph(source, root)
    problems = list(merged.problems)
    spec = None
    if merged.readable:
        spec, found = _validate(merged)
        problems += found
    return ReadSpec(None if problems else spec, sorted(set(problems)), merged.root)


def checked_spec(source: Source, root: Path) -> GraphSpec:
    """The specification. Raises GraphFileError with every problem on a line of its own."""
    read = read_spec(source, root)
    if read.spec is None:
        raise GraphFileError("\n".join(map(str, read.problems)))
    return read.spec


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
            if len(problems) >= MAX_PROBLEMS:
                break
            location = location_in(merged.data, problem["loc"], problem["type"])
            text = explain(problem, location)
            if text:
                add(location, text, problem["type"] == "extra_forbidden" or "[key]" in problem["loc"])
    more = check_all(merged.data, lambda stated: merged.resolve_in(merged.root, stated))
    for location, text in islice(more, MAX_PROBLEMS + 1):
        in_block = len(location) == 2 and location[0] in BLOCKS
        add(location, text, of_key=location[-1] == "tasks" or in_block or location[-2:-1] == ("args",))
    tasks = merged.data.get("tasks") if isinstance(merged.data, dict) else None
    for name in tasks if isinstance(tasks, dict) else ():
        document, own = merged.owner(("tasks", name, "prompt"))
        if own in document.commented:
            add(
                ("tasks", name, "prompt"),
                "a '#' after a space begins a comment, so the prompt ends before it. Put the prompt in quotes.",
                False,
            )
    if len(problems) >= MAX_PROBLEMS:
        problems = sorted(set(problems))[:MAX_PROBLEMS]
        problems.append(Problem(problems[-1].place, f"more than {MAX_PROBLEMS} problems: the others are not shown."))
    return spec, problems
