"""The pipeline that training, evaluation and `rag-graph ask` share: draft -> retrieve -> fuse -> answer.

The model drafts without evidence; the draft joins the input as the query; evidence and input are fused: `concat` puts all evidence into
one prompt, `rag_sequence` and `rag_token` answer from one prompt per passage, marginalised (Lewis et al. 2020; `generation.marginal`).
A task that no context grounds is answered at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rag_graph.config import RetrievalConfig
from rag_graph.data.prompts import render_prompt
from rag_graph.generation.generate import Response
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.rag.context_pool import ContextPool
from rag_graph.records import Episode, Evidence, Example


class Writer(Protocol):
    """The language model, greedy."""

    def __call__(self, prompts: Sequence[str]) -> list[Response]:
        """Prompts -> responses, in order."""
        ...

    def fuse(
        self,
        prompts: Sequence[Sequence[str]],
        weights: Sequence[Sequence[float]],
        fusion: Literal["rag_sequence", "rag_token"],
    ) -> list[Response]:
        """For each example one response from its prompts, weighted."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What one example could be shown: its query, and candidates best first."""

    task: str
    query: str
    candidates: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which candidates were taken, in order, and how likely that was."""

    asked: Asked
    taken: tuple[int, ...]
    log_prob: float


Choose = Callable[[Sequence[Asked]], list[Choice]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """An example on its way to an answer. `choice` is there where the evidence was drawn."""

    example: Example
    prompt: str
    draft: str = ""
    evidence: tuple[Evidence, ...] = ()
    choice: Choice | None = None


class RagPipeline:
    """
    Args:
        graph: tasks with their prompts, contexts with their `grounds` edges.
        pool: what can be retrieved; None answers without retrieval.
        write: the language model.
    """

    def __init__(self, graph: AuxiliaryGraph, pool: ContextPool | None, config: RetrievalConfig, write: Writer) -> None:
        self.graph = graph
        self.pool = pool
        self.config = config
        self.write = write

    def prepare(
        self, examples: Sequence[Example], choose: Choose | None = None, limit: int | None = None
    ) -> list[Prepared]:
        """Draft and retrieve where a task has contexts; render every prompt. Order is kept.

        Args:
            choose: takes candidates, instead of the best ones first.
            limit: of candidates, for `choose`.
        """
        pool = self.pool
        drafts = self.drafts(examples)
        asked: dict[int, Asked] = {}
        for task in dict.fromkeys(example.task for example in examples):
            rows = [row for row, example in enumerate(examples) if example.task == task]
            if pool is None or not pool.grounds(task):
                continue
            queries = [query_text(examples[row], drafts[row]) for row in rows]
            found = pool.candidates(task, queries, [examples[row].id for row in rows], limit)
            for row, query, candidates in zip(rows, queries, found, strict=True):
                asked[row] = Asked(task, query, tuple(candidates))
        choices = {}
        if choose is not None:
            open_rows = [row for row, one in asked.items() if one.candidates]
            choices = dict(zip(open_rows, choose([asked[row] for row in open_rows]), strict=True))
        prepared = []
        for row, (example, draft) in enumerate(zip(examples, drafts, strict=True)):
            evidence: tuple[Evidence, ...] = ()
            choice = choices.get(row)
            if row in asked and pool is not None:
                wanted = asked[row].candidates
                if choice is not None:
                    wanted = tuple(wanted[place] for place in choice.taken)
                evidence = pool.select(asked[row].task, wanted, apart=self.config.fusion != "concat")
                if choice is not None and len([p for p in evidence if not pool.is_pinned(p)]) < len(wanted):
                    choice = None  # the budget cut the draw: nobody learns from what was not shown
            prepared.append(Prepared(example, self._prompt(example, evidence), draft, evidence, choice))
        return prepared

    def drafts(self, examples: Sequence[Example]) -> list[str]:
        """What the model would answer without evidence, where retrieval depends on it; else empty."""
        drafts = [""] * len(examples)
        pool = self.pool
        ranked = [row for row, example in enumerate(examples) if pool is not None and pool.ranks(example.task)]
        if self.config.draft and ranked:
            for row, response in zip(ranked, self.write([self._prompt(examples[row]) for row in ranked]), strict=True):
                drafts[row] = response.text
        return drafts

    def answer(self, examples: Sequence[Example]) -> list[Episode]:
        """Episodes without scores, in order."""
        prepared = self.prepare(examples)
        responses = self._responses(prepared)
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

    def _responses(self, prepared: Sequence[Prepared]) -> list[Response]:
        fusion = self.config.fusion
        if fusion == "concat" or self.pool is None:
            return self.write([one.prompt for one in prepared])
        pieces = [[piece for piece in one.evidence if not self.pool.is_pinned(piece)] for one in prepared]
        prompts = [
            [self.prompt_with(one.example, piece) for piece in mine] or [one.prompt]
            for one, mine in zip(prepared, pieces, strict=True)
        ]
        weights = [passage_weights(mine, self.config) or [1.0] for mine in pieces]
        return self.write.fuse(prompts, weights, fusion)

    def shown_alone(self, task: str, piece: Evidence) -> tuple[Evidence, ...]:
        """The task's guidelines and one passage."""
        assert self.pool is not None
        return self.pool.select(task, [piece])

    def prompt_with(self, example: Example, piece: Evidence) -> str:
        """The prompt that shows the task's guidelines and one passage."""
        return self._prompt(example, self.shown_alone(example.task, piece))

    def _prompt(self, example: Example, evidence: Sequence[Evidence] = ()) -> str:
        return render_prompt(self.graph.spec.tasks[example.task], example, evidence)


def query_text(example: Example, draft: str) -> str:
    """What is searched for: the fields of the input, then the draft."""
    return " ".join([*example.inputs.values(), draft]).strip()


def passage_weights(pieces: Sequence[Evidence], config: RetrievalConfig) -> list[float]:
    """p(z | x) of each piece: a softmax over cosines for method `dense`, else over scores relative to the best; `config.temperature`."""
    if not pieces:
        return []
    scale = 1.0 if config.method == "dense" else max(piece.score for piece in pieces)
    logits = [piece.score / scale / config.temperature for piece in pieces]
    weights = [math.exp(value - max(logits)) for value in logits]
    return [weight / sum(weights) for weight in weights]
