"""The pipeline that training, evaluation and `rag-graph ask` share: draft -> retrieve -> fuse -> answer.

The model drafts without evidence; the draft joins the input as the query; evidence and input are fused: `concat` puts all evidence into
one prompt, `rag_sequence` and `rag_token` answer from one prompt per passage, marginalised (Lewis et al. 2020; `generation.marginal`). Prompts are made
to fit the policy (`rag.fitting`); the evidence of an episode is what its prompts really held.
A task that no context grounds is answered at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from rag_graph.config import RetrievalConfig
from rag_graph.generation.generate import Response
from rag_graph.generation.tokens import TokenRoom
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.rag.context_pool import ContextPool
from rag_graph.rag.fitting import PromptFitter, Shown
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
    """An example on its way to an answer.

    choice: there where the evidence was drawn.
    cut: the prompt was too long and lost something.
    alone: where passages are shown apart, the prompt of each, in the order of the evidence.
    """

    example: Example
    prompt: str
    draft: str = ""
    evidence: tuple[Evidence, ...] = ()
    choice: Choice | None = None
    cut: bool = False
    alone: tuple[str, ...] = ()


class RagPipeline:
    """
    Args:
        graph: tasks with their prompts, contexts with their `grounds` edges.
        pool: what can be retrieved; None answers without retrieval.
        write: the language model.
        room: how long its prompts may be; None: of any length.
    """

    def __init__(
        self,
        graph: AuxiliaryGraph,
        pool: ContextPool | None,
        config: RetrievalConfig,
        write: Writer,
        room: TokenRoom | None = None,
    ) -> None:
        self.graph = graph
        self.pool = pool
        self.config = config
        self.write = write
        self.fit = PromptFitter(graph.spec.tasks, pool, room)

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
        evidence: list[tuple[Evidence, ...]] = [()] * len(examples)
        apart = self.config.fusion != "concat"
        for task in dict.fromkeys(example.task for example in examples):
            rows = [row for row, example in enumerate(examples) if example.task == task]
            if pool is None or not pool.grounds(task):
                continue
            queries = [query_text(examples[row], drafts[row]) for row in rows]
            sources = [examples[row].id for row in rows]
            if choose is None:
                for row, pieces in zip(rows, pool.retrieve(task, queries, sources, apart), strict=True):
                    evidence[row] = pieces
                continue
            found = pool.candidates(task, queries, sources, limit)
            for row, query, candidates in zip(rows, queries, found, strict=True):
                asked[row] = Asked(task, query, tuple(candidates))
        choices = {}
        if choose is not None:
            open_rows = [row for row, one in asked.items() if one.candidates]
            choices = dict(zip(open_rows, choose([asked[row] for row in open_rows]), strict=True))
        for row, one in asked.items():
            assert pool is not None
            taken = choices[row].taken if row in choices else ()
            evidence[row] = pool.select(one.task, [one.candidates[place] for place in taken], apart)
        prepared = self._fitted(examples, drafts, evidence)
        return [
            replace(one, choice=choice if (choice := choices.get(row)) and self._shows_all(one, choice) else None)
            for row, one in enumerate(prepared)
        ]

    def _shows_all(self, one: Prepared, choice: Choice) -> bool:
        """Whether all that was drawn is shown, if cut: nobody learns from what was not."""
        return len(self._passages(one.evidence)) == len(choice.taken)

    def _passages(self, evidence: Sequence[Evidence]) -> list[Evidence]:
        pool = self.pool
        return [piece for piece in evidence if pool is None or not pool.is_pinned(piece)]

    def _fitted(
        self, examples: Sequence[Example], drafts: Sequence[str], evidence: Sequence[tuple[Evidence, ...]]
    ) -> list[Prepared]:
        """Examples with prompts that fit, and with the evidence that is left in them."""
        prepared = [
            Prepared(example, shown.prompt, draft, shown.evidence, None, shown.cut)
            for example, draft, shown in zip(examples, drafts, self.fit(examples, evidence), strict=True)
        ]
        if self.config.fusion == "concat":
            return prepared
        passages = [self._passages(pieces) for pieces in evidence]
        apart = iter(self.alone([(e, p) for e, mine in zip(examples, passages, strict=True) for p in mine]))
        for row, mine in enumerate(passages):
            shown = [next(apart) for _ in mine]
            held = [(one, self._passages(one.evidence)) for one in shown]
            pieces = [piece for _, left in held for piece in left]
            if pieces:
                guidelines = [p for p in shown[0].evidence if not self._passages([p])]
                ranked = tuple(replace(piece, rank=rank) for rank, piece in enumerate([*guidelines, *pieces], 1))
                prompts = tuple(one.prompt for one, left in held if left)
                cut = any(one.cut for one in shown)
                first = prepared[row].prompt if len(prompts) > 1 else prompts[0]
                prepared[row] = replace(prepared[row], prompt=first, evidence=ranked, cut=cut, alone=prompts)
        return prepared

    def drafts(self, examples: Sequence[Example]) -> list[str]:
        """What the model would answer without evidence, where retrieval depends on it; else empty."""
        drafts = [""] * len(examples)
        pool = self.pool
        ranked = [row for row, example in enumerate(examples) if pool is not None and pool.ranks(example.task)]
        if self.config.draft and ranked:
            bare = self.fit([examples[row] for row in ranked], [()] * len(ranked))
            for row, response in zip(ranked, self.write([shown.prompt for shown in bare]), strict=True):
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
                prompt_cut=one.cut,
            )
            for one, response in zip(prepared, responses, strict=True)
        ]

    def _responses(self, prepared: Sequence[Prepared]) -> list[Response]:
        fusion = self.config.fusion
        if fusion == "concat" or self.pool is None:
            return self.write([one.prompt for one in prepared])
        prompts = [one.alone or (one.prompt,) for one in prepared]
        weights = [
            passage_weights(self._passages(one.evidence), self.config) if one.alone else [1.0] for one in prepared
        ]
        return self.write.fuse(prompts, weights, fusion)

    def alone(self, pairs: Sequence[tuple[Example, Evidence]]) -> list[Shown]:
        """For each example the prompt that shows the task's guidelines and one passage."""
        pool = self.pool
        assert pool is not None
        evidence = [pool.select(example.task, [piece]) for example, piece in pairs]
        return self.fit([example for example, _ in pairs], evidence)


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
