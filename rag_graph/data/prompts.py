"""Prompt templates: fields of an example and its evidence -> the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from rag_graph.errors import DataError
from rag_graph.graph.placeholders import fill
from rag_graph.graph.spec import Task
from rag_graph.records import Evidence, Example


def render_evidence(evidence: Sequence[Evidence]) -> str:
    """The evidence block of a prompt: the texts in rank order, one per line."""
    return "\n".join(piece.context.text for piece in evidence)


def render_prompt(task: Task, example: Example, evidence: Sequence[Evidence] = ()) -> str:
    """Fill the template of a task (`rag_graph.graph.placeholders`). Without evidence, `{context}` and the white space after it are removed.

    Raises:
        DataError: the task has no prompt.
    """
    if task.prompt is None:
        raise DataError(f"task '{example.task}' has no prompt. Add 'prompt:' to it in the graph file.")
    values = {**example.inputs, "labels": ", ".join(task.label_words), "context": render_evidence(evidence)}
    return fill(task.prompt, values, dropped=() if evidence else ("context",)).rstrip()
