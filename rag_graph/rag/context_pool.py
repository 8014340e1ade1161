"""The context nodes of a run, grouped by the task they ground, and the search over them.

A guideline is always part of its task's evidence; exemplars and passages are ranked. The strength of a `grounds` edge weighs
what comes from that context; the walk starts from the ranked nodes and the task, and goes along `grounds` and `links`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_graph.config import RetrievalConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.rag.budget import CountTokens, EvidenceBudget, count_in_words
from rag_graph.records import ContextNode, Evidence, Example
from rag_graph.retrieval.base import CANDIDATES, CheckedRetriever, Hit, Retriever
from rag_graph.retrieval.encoder import SCRATCH, SentenceEncoder
from rag_graph.retrieval.fusion import WeightedRetriever
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval_methods import DENSE_METHODS
from rag_graph.stored_file import damaged

MakeRetriever = Callable[[Sequence[ContextNode]], Retriever]
"""Passages of one task -> what ranks them; a hit's position is the passage's place among them."""
Fits = Callable[[Evidence], object]
"""Whether a piece can be shown: true or not."""


class TaskPool:
    """What grounds one task."""

    def __init__(
        self,
        task: str,
        nodes: Sequence[ContextNode],
        prior: Mapping[str, float],
        pinned: set[str],
        config: RetrievalConfig,
        encoders: Encoders | None,
        own: MakeRetriever | None,
    ) -> None:
        self.task = task
        self.own = own
        self.pinned = [node for node in nodes if node.node in pinned]
        self.ranked = [node for node in nodes if node.node not in pinned]
        self.prior = prior
        self.config = config
        self.encoders = encoders

    @cached_property
    def index(self) -> PassageIndex:
        encoder = self.encoders.passages if self.encoders else None
        vectors = self.config.vectors if encoder is not None else "exact"
        keep = self.config.encoder != SCRATCH  # which is small and made anew in each run
        return PassageIndex(self.ranked, encoder, self.config.links, vectors, language=self.config.language, keep=keep)

    @cached_property
    def places(self) -> dict[str, int]:
        """Position of each ranked node by its id."""
        return {node.id: place for place, node in enumerate(self.ranked)}

    @cached_property
    def local(self) -> dict[str, list[int]]:
        """Positions by the id that a passage has in its own file."""
        found: dict[str, list[int]] = {}
        for place, node in enumerate(self.ranked):
            found.setdefault(node.local_id, []).append(place)
        return found

    @cached_property
    def retriever(self) -> Retriever:
        """Scores weigh as much as what grounds the task."""
        config = self.config
        encoder = self.encoders.queries if self.encoders else None
        weights = [self.prior[node.node] for node in self.ranked]
        if self.own is not None:
            return WeightedRetriever(CheckedRetriever(self.own(self.ranked), len(self.ranked)), weights)
        return self.index.retriever(config.method, encoder, weights, config.damping, config.walk_epsilon)

    def evidence(self, hit: Hit) -> Evidence:
        """A hit with its scores and its reason; the rank is given later."""
        node = self.ranked[hit.position]
        scores = {name: round(score, 6) for name, score in hit.scores.items()}
        by = ", ".join(f"{name} {score:.3g}" for name, score in scores.items())
        reason = [f"{node.node} grounds {self.task} ({self.prior[node.node]:g})", by]
        if hit.via is not None and hit.via.kind != "grounds":
            reason.append(self.index.describe(hit.via))
        return Evidence(node, hit.score, 0, scores, "; ".join(reason))

    def pieces(self, hits: Iterable[Hit], banned: str, fits: Fits) -> Iterator[Evidence]:
        """Hits as evidence; no text twice, nothing from the source `banned`, nothing that does not fit."""
        texts: set[str] = set()
        for hit in hits:
            node = self.ranked[hit.position]
            if (banned and node.source == banned) or node.text in texts:
                continue
            if fits(piece := self.evidence(hit)):
                texts.add(node.text)
                yield piece


class ContextPool:
    """All context nodes of one split, searched per task.

    Args:
        own: makes the retriever, instead of the config's method.
        count: how the budget measures texts: in the policy's tokens (`generation.tokens.token_room`); default in words, where there is no policy.
    """

    def __init__(
        self,
        graph: AuxiliaryGraph,
        nodes: Sequence[ContextNode],
        config: RetrievalConfig,
        encoders: Encoders | None = None,
        own: MakeRetriever | None = None,
        count: CountTokens = count_in_words,
    ) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.config = config
        kinds = {name: context.kind for name, context in graph.spec.contexts.items()}
        self._guidelines = {name for name, kind in kinds.items() if kind == "guideline"}
        whole = [name for name, kind in kinds.items() if kind != "passages"]
        self.budget = EvidenceBudget(config.token_budget, config.k, count, whole)
        self._tasks: dict[str, TaskPool] = {}
        for task in graph.spec.tasks:
            prior = graph.grounding(task)
            mine = [node for node in nodes if node.node in prior]
            if mine and (config.method != "none" or own is not None):
                self._tasks[task] = TaskPool(task, mine, prior, self._guidelines, config, encoders, own)

    def grounds(self, task: str) -> bool:
        """True where something can be retrieved for the task."""
        return task in self._tasks

    def ranks(self, task: str) -> bool:
        """True where retrieval for the task depends on the query: there is more than guidelines."""
        return task in self._tasks and bool(self._tasks[task].ranked)

    @property
    def embedded(self) -> dict[str, int]:
        """Tasks whose passages an encoder embeds, and how many these are."""
        return {
            task: len(pool.ranked)
            for task, pool in self._tasks.items()
            if pool.encoders is not None and pool.own is None and pool.ranked
        }

    def embed(self, task: str) -> None:
        """Embed the passages of a task now; else the first question does."""
        _ = self._tasks[task].index

    def retrieve(
        self, task: str, queries: Sequence[str], exclude: Sequence[str] | None = None, apart: bool = False
    ) -> list[tuple[Evidence, ...]]:
        """Evidence for each query, best first, within the budget of pieces and tokens.

        Args:
            exclude: for each query the source of a node that must not be used (the example itself, among exemplars).
            apart: see `select`.
        """
        return [self.select(task, found, apart) for found in self.ranked(task, queries, exclude)]

    def ranked(
        self,
        task: str,
        queries: Sequence[str],
        exclude: Sequence[str] | None = None,
        fits: Fits = lambda piece: True,
    ) -> list[Iterator[Evidence]]:
        """What may become evidence of each query, best first: no repeats, nothing excluded. Each piece is made when it is asked for, because few are shown.

        Args:
            fits: pieces for which this is false are passed over.
        """
        if not self.ranks(task):
            return [iter(()) for _ in queries]
        pool = self._tasks[task]
        found = zip(pool.retriever.search(queries, CANDIDATES), exclude or [""] * len(queries), strict=True)
        return [pool.pieces(hits, source, fits) for hits, source in found]

    def candidates(
        self, task: str, queries: Sequence[str], exclude: Sequence[str] | None = None, limit: int | None = None
    ) -> list[list[Evidence]]:
        """As `ranked`, of what can be shown, if need be cut; the first `limit`, or all."""
        pinned = self._pinned(self._tasks[task]) if self.ranks(task) else []
        found = self.ranked(task, queries, exclude, lambda piece: self.budget.fill(pinned, [piece]))
        return [list(islice(pieces, limit)) for pieces in found]

    def select(self, task: str, wanted: Iterable[Evidence], apart: bool = False) -> tuple[Evidence, ...]:
        """Guidelines of the task, then of `wanted`, in this order, what the budget has room for, if need be cut (`EvidenceBudget.fill`).

        Args:
            apart: every passage is shown in a prompt of its own, beside the guidelines.
        """
        if task not in self._tasks:
            return ()
        pinned = self._pinned(self._tasks[task])
        chosen = [*pinned, *self.budget.fill(pinned, wanted, apart)]
        return tuple(replace(piece, rank=rank) for rank, piece in enumerate(chosen, 1))

    def guidelines(self, task: str) -> tuple[Evidence, ...]:
        """What is shown for the task whatever is asked."""
        return self.select(task, ())

    def passages(self, task: str) -> Sequence[ContextNode]:
        """What is ranked for the task."""
        return self._tasks[task].ranked if task in self._tasks else ()

    def _pinned(self, pool: TaskPool) -> list[Evidence]:
        return [Evidence(node, pool.prior[node.node], 0, {}, f"guideline of {pool.task}") for node in pool.pinned]

    def is_pinned(self, piece: Evidence) -> bool:
        """A guideline: shown whatever is asked."""
        return piece.context.node in self._guidelines

    def supporting(self, example: Example) -> list[Evidence]:
        """The passages that the data name as supporting an example, among those that ground its task."""
        pool = self._tasks.get(example.task)
        if pool is None:
            return []
        found = [place for name in example.supporting for place in pool.local.get(name, ())]
        return [pool.evidence(Hit(place, 1.0)) for place in found]

    def vectors(self, task: str, pieces: Sequence[Evidence]) -> NDArray[np.float32]:
        """Embeddings [len(pieces), dimension] of what was retrieved; for the dense methods."""
        vectors, places = self._tasks[task].index.parts.vectors, self._tasks[task].places
        assert vectors is not None
        return np.asarray(vectors[[places[piece.context.id] for piece in pieces]])


@dataclass(frozen=True, slots=True)
class Encoders:
    """One for passages, whose vectors stay, and one for queries, which may learn; the same one where nothing learns."""

    passages: SentenceEncoder
    queries: SentenceEncoder

    @property
    def learn(self) -> bool:
        return self.queries is not self.passages

    def save(self, folder: Path) -> None:
        """Both, as sentence-transformers saves them, where one of them is not what the config names."""
        if self.learn or self.passages.name == SCRATCH:
            self.passages.save(folder / "passages")
            self.queries.save(folder / "queries")


def load_encoders(
    config: RetrievalConfig,
    nodes: Iterable[ContextNode],
    seed: int = 0,
    saved: Path | None = None,
    trusted: bool = False,
) -> Encoders | None:
    """The encoders that the config names, where its method needs one; the pools of a run share them.

    Args:
        nodes: all that can be retrieved; the word pieces of an encoder from scratch are made of their texts.
        saved: where `Encoders.save` may have put what a run ended with.
        trusted: Python code that comes with an encoder may run.

    Raises:
        DamagedFileError: one of the saved two is missing.
        ModelError: an encoder cannot be loaded.
    """
    if config.method not in DENSE_METHODS:
        return None
    if saved is not None and saved.is_dir():
        parts = [saved / name for name in ("passages", "queries")]
        for part in parts:
            if not (part / "modules.json").is_file():  # a name that is no folder would be looked up on the hub
                raise damaged(part / "modules.json", "is missing")
        return Encoders(*(SentenceEncoder(str(part), trust_remote_code=trusted) for part in parts))
    corpus = (f"{node.title} {node.text}" for node in nodes) if config.encoder == SCRATCH else ()
    encoder = SentenceEncoder(config.encoder, corpus=corpus, seed=seed, trust_remote_code=trusted)
    learns = config.learning != "none" or config.learn.warm_up != "none"
    return Encoders(encoder, encoder.copy() if learns else encoder)
