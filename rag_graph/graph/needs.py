"""What a run needs that a graph lacks. A graph that is only a reward names tasks with goal weights, criteria and relations; a run also has to
know where examples come from, what the model is asked, and how its answers are read and scored."""

from __future__ import annotations

from collections.abc import Collection

from rag_graph.errors import GraphFileError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import problems_at
from rag_graph.graph.spec import Task
from rag_graph.yaml_document import Problem

REMEDY = {
    "kind": "kind: classification, generation or extraction",
    "dataset": "dataset: {path: FILE, test: FILE}",
    "fields": "fields: {input: COLUMN, reference: COLUMN}",
    "metrics": "metrics: {exact_match: 1.0}, or a function of your own that scores it",
    "prompt": 'prompt: "{input}"',
}
"""Key of a task -> what to write."""


def missing_for_run(graph: AuxiliaryGraph, scored: Collection[str] = ()) -> list[Problem]:
    """One problem for each task that lacks keys which a run needs: which keys, and what to write; each at its place in the file.

    Args:
        scored: nodes that functions of your own score; such a task needs no metrics.
    """
    found = []
    for name, task in graph.spec.tasks.items():
        keys = _missing(task, name in scored)
        if keys:
            told = "; ".join(REMEDY[key] for key in keys)
            found.append((("tasks", name), f"a run needs {_and(keys)}, which this task lacks. Add {told}."))
    return problems_at(graph, found, of_key=True)


def check_for_run(graph: AuxiliaryGraph, scored: Collection[str] = ()) -> None:
    """Raises GraphFileError with every problem of `missing_for_run`, one a line."""
    problems = missing_for_run(graph, scored)
    if problems:
        raise GraphFileError("\n".join(map(str, problems)))


def _missing(task: Task, scored: bool) -> list[str]:
    there = {
        "kind": task.kind is not None,
        "dataset": task.dataset is not None,
        "fields": bool(task.fields),
        "metrics": bool(task.metrics) or scored,
        "prompt": task.prompt is not None,
    }
    return [key for key, stated in there.items() if not stated]


def _and(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
