"""The pipeline that training, evaluation and `rag-graph ask` share: draft -> retrieve -> fuse (`concat`) -> answer.

The model drafts without evidence; the draft joins the input as the query; the evidence goes into the prompt; the model
answers. A task that no context grounds is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag_graph.config import RetrievalConfig
from rag_graph.data.prompts import render_prompt
from rag_graph.generation.generate import Response
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode, Evidence, Example
from rag_graph.retrieval.context_pool import ContextPool

Write = Callable[[Sequence[str]], list[Response]]
"""Prompts -> responses, in order; greedy."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An example on its way to an answer."""

    example: Example
    prompt: str
    draft: str = ""
    evidence: tuple[Evidence, ...] = ()


class RagPipeline:
    """
    Args:
        graph: tasks with their prompts, contexts with their `grounds` edges.
        pool: what can be retrieved; None answers without retrieval.
        write: the language model.
    """

    def __init__(self, graph: AuxiliaryGraph, pool: ContextPool | None, config: RetrievalConfig, write: Write) -> None:
        self.graph = graph
        self.pool = pool
        self.config = config
        self.write = write

    def prepare(self, examples: Sequence[Example]) -> list[Prepared]:
        """Draft and retrieve where a task has contexts; render every prompt. Order is kept."""
        pool = self.pool
        drafts = [""] * len(examples)
        ranked = [row for row, example in enumerate(examples) if pool is not None and pool.ranks(example.task)]
        if self.config.draft and ranked:
            prompts = [self._prompt(examples[row]) for row in ranked]
            for row, response in zip(ranked, self.write(prompts), strict=True):
                drafts[row] = response.text
        evidence: list[tuple[Evidence, ...]] = [()] * len(examples)
        for task in dict.fromkeys(example.task for example in examples):
            rows = [row for row, example in enumerate(examples) if example.task == task]
            if pool is None or not pool.grounds(task):
                continue
            queries = [query_text(examples[row], drafts[row]) for row in rows]
            for row, found in zip(rows, pool.retrieve(task, queries, [examples[row].id for row in rows]), strict=True):
                evidence[row] = found
        return [
            Prepared(example, self._prompt(example, found), draft, found)
            for example, draft, found in zip(examples, drafts, evidence, strict=True)
        ]

    def answer(self, examples: Sequence[Example]) -> list[Episode]:
        """Episodes without scores, in order."""
        prepared = self.prepare(examples)
        responses = self.write([one.prompt for one in prepared])
        return [
            Episode(
                one.example.id,
                one.example,
                one.prompt,
                response.text,
                one.draft,
                one.evidence,
                truncated=response.truncated,
            )
            for one, response in zip(prepared, responses, strict=True)
        ]

    def _prompt(self, example: Example, evidence: Sequence[Evidence] = ()) -> str:
        return render_prompt(self.graph.spec.tasks[example.task], example, evidence)


def query_text(example: Example, draft: str) -> str:
    """What is searched for: the fields of the input, then the draft."""
    return " ".join([*example.inputs.values(), draft]).strip()
