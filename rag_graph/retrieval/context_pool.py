"""The context nodes of a run, grouped by the task they ground, and the search over them.

A guideline is always part of its task's evidence; exemplars and passages are ranked. The strength of a `grounds` edge weighs
what comes from that context; the walk starts from the ranked nodes and the task, and goes along `grounds` and `links`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from rag_graph.config import RetrievalConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import ContextNode, Evidence
from rag_graph.retrieval.base import Hit, Retriever
from rag_graph.retrieval.bm25 import Bm25Retriever
from rag_graph.retrieval.dense import DenseRetriever, Encoder, SentenceEncoder
from rag_graph.retrieval.fusion import reciprocal_rank_fusion
from rag_graph.retrieval.pagerank import PersonalisedPageRank

CANDIDATES = 100
"""How deep each retriever looks before fusion."""


class TaskPool:
    """What grounds one task."""

    def __init__(
        self,
        nodes: Sequence[ContextNode],
        prior: Mapping[str, float],
        pinned: set[str],
        config: RetrievalConfig,
        encoder: Encoder | None,
    ) -> None:
        self.pinned = [node for node in nodes if node.node in pinned]
        self.ranked = [node for node in nodes if node.node not in pinned]
        self.prior = prior
        self.config = config
        self._encoder = encoder

    @cached_property
    def retrievers(self) -> list[Retriever]:
        texts = [f"{node.title} {node.text}" if node.title not in node.text else node.text for node in self.ranked]
        method = self.config.method
        found: list[Retriever] = []
        if method in ("bm25", "walk", "hybrid"):
            found.append(Bm25Retriever(texts))
        if method in ("dense", "hybrid"):
            assert self._encoder is not None
            found.append(DenseRetriever(texts, self._encoder))
        return found

    @cached_property
    def walk(self) -> PersonalisedPageRank:
        """Nodes 0..n-1 are the ranked contexts, node n is the task."""
        position = {node.id: number for number, node in enumerate(self.ranked)}
        edges = [
            (number, len(self.ranked), max(self.prior[node.node], 1e-6)) for number, node in enumerate(self.ranked)
        ]
        edges += [
            (number, position[link], 1.0)
            for number, node in enumerate(self.ranked)
            for link in node.links
            if link in position and link != node.id
        ]
        return PersonalisedPageRank(len(self.ranked) + 1, edges, self.config.damping)

    def search(self, queries: Sequence[str], depth: int) -> list[tuple[list[Hit], list[dict[str, Hit]]]]:
        """For each query the final ranking, and beside each hit what every retriever said of it."""
        by_retriever = {
            retriever.name: retriever.search(queries, max(depth, CANDIDATES)) for retriever in self.retrievers
        }
        answers = []
        for number in range(len(queries)):
            lists = {name: hits[number] for name, hits in by_retriever.items()}
            weighted = {name: self._weigh(hits) for name, hits in lists.items()}
            if self.config.method == "walk":
                walked = self._walk(next(iter(weighted.values())))
                final = walked[:depth]
                lists["walk"] = walked
            elif len(weighted) > 1:
                final = reciprocal_rank_fusion(weighted, depth)
            else:
                final = next(iter(weighted.values()))[:depth]
            tables = {name: {hit.position: hit for hit in hits} for name, hits in lists.items()}
            answers.append(
                (
                    final,
                    [
                        {name: table[hit.position] for name, table in tables.items() if hit.position in table}
                        for hit in final
                    ],
                )
            )
        return answers

    def _weigh(self, hits: Sequence[Hit]) -> list[Hit]:
        weighted = [Hit(hit.position, hit.score * self.prior[self.ranked[hit.position].node]) for hit in hits]
        return sorted(weighted, key=lambda hit: (-hit.score, hit.position))

    def _walk(self, seeds: Sequence[Hit]) -> list[Hit]:
        """Reset: the seeds' scores squared, and a tenth of the best of them on the task node, which reaches what no word did."""
        if not seeds:
            return []
        reset = np.zeros((len(self.ranked) + 1, 1))
        for hit in seeds:
            reset[hit.position, 0] = max(hit.score, 0.0) ** 2
        reset[-1, 0] = max(reset.max() * 0.1, 1e-12)
        visits = self.walk.walk(reset)[:-1, 0]
        order = np.lexsort((np.arange(len(visits)), -visits))[:CANDIDATES]
        return [Hit(int(position), float(visits[position])) for position in order]


class ContextPool:
    """All context nodes of one split, searched per task."""

    def __init__(
        self,
        graph: AuxiliaryGraph,
        nodes: Sequence[ContextNode],
        config: RetrievalConfig,
        encoder: Encoder | None = None,
    ) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.config = config
        guidelines = {name for name, context in graph.spec.contexts.items() if context.kind == "guideline"}
        self._tasks: dict[str, TaskPool] = {}
        for task in graph.spec.tasks:
            prior = graph.grounding(task)
            mine = [node for node in nodes if node.node in prior]
            if mine and config.method != "none":
                self._tasks[task] = TaskPool(mine, prior, guidelines, config, encoder)

    def grounds(self, task: str) -> bool:
        """True where something can be retrieved for the task."""
        return task in self._tasks

    def ranks(self, task: str) -> bool:
        """True where retrieval for the task depends on the query: there is more than guidelines."""
        return task in self._tasks and bool(self._tasks[task].ranked)

    def retrieve(
        self, task: str, queries: Sequence[str], exclude: Sequence[str] | None = None
    ) -> list[tuple[Evidence, ...]]:
        """Evidence for each query, best first, within the budget of nodes and words.

        Args:
            exclude: for each query the source of a node that must not be used (the example itself, among exemplars).
        """
        if task not in self._tasks:
            return [()] * len(queries)
        pool, k = self._tasks[task], self.config.k
        pinned = [Evidence(node, pool.prior[node.node], 0, {}, f"guideline of {task}") for node in pool.pinned]
        searched = pool.search(queries, CANDIDATES) if pool.ranked else [([], [])] * len(queries)
        answers = []
        for number, (hits, said) in enumerate(searched):
            chosen = list(pinned)
            banned = exclude[number] if exclude else ""
            budget = self.config.token_budget - sum(len(piece.context.text.split()) for piece in pinned)
            texts: set[str] = set()
            for hit, by in zip(hits, said, strict=True):
                node = pool.ranked[hit.position]
                length = len(node.text.split())
                if (banned and node.source == banned) or node.text in texts or length > budget:
                    continue
                scores = {name: round(found.score, 6) for name, found in by.items()}
                chosen.append(Evidence(node, hit.score, 0, scores, _reason(node, task, pool.prior[node.node], scores)))
                texts.add(node.text)
                budget -= length
                if len(chosen) - len(pinned) == k:
                    break
            answers.append(
                tuple(Evidence(e.context, e.score, rank, e.scores, e.reason) for rank, e in enumerate(chosen, 1))
            )
        return answers


def _reason(node: ContextNode, task: str, strength: float, scores: Mapping[str, float]) -> str:
    by = ", ".join(f"{name} {score:.3g}" for name, score in scores.items())
    return f"{node.node} grounds {task} ({strength:g}); {by}"


def load_encoder(config: RetrievalConfig) -> Encoder | None:
    """The encoder that the config names, where its method needs one; the pools of a run share it."""
    return SentenceEncoder(config.encoder) if config.method in ("dense", "hybrid") else None
