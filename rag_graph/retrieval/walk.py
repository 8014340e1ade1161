"""The walk over the context graph: from the passages that retrievers found, along links, to passages that share no word with the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from rag_graph.retrieval.base import CANDIDATES, Hit, Retriever, Via, largest
from rag_graph.retrieval.fusion import Share, score_fusion
from rag_graph.retrieval.links import KINDS, Links
from rag_graph.retrieval.pagerank import PersonalisedPageRank

SHARPNESS = 4
"""Power of the fused scores in the reset distribution: the best seeds get most of the mass (docs/decisions/0008)."""
SEED_SHARES: Mapping[str, Share] = MappingProxyType({"bm25": Share(weight=1.5), "dense": Share(power=2)})
"""What BM25 and an encoder bring to the seeds. Cosines fall slowly from the best; their square does so more like BM25 (docs/decisions/0008)."""
TASK_SHARE = 0.1
"""The reset weight of the task node, as a share of the best seed's. It reaches passages without a common word."""


class Visits:
    """node -> visit probability, over ascending nodes."""

    def __init__(self, nodes: NDArray[np.int64], probability: NDArray[np.float64]) -> None:
        self.nodes, self.probability = nodes, probability

    def at(self, nodes: NDArray[np.int64]) -> NDArray[np.float64]:
        """0 if the walk did not reach the node."""
        if not len(self.nodes):
            return np.zeros(len(nodes))
        place = np.minimum(np.searchsorted(self.nodes, nodes), len(self.nodes) - 1)
        return np.where(self.nodes[place] == nodes, self.probability[place], 0.0)


class ContextGraph:
    """Passages come first, then phrase nodes and, if given, one node for the task that they ground.

    The weight of an edge is 1 over the square root of the degrees of its ends, so a passage with many links does not attract every walk. An
    edge to the task has the strength of its `grounds` edge as its weight.

    Args:
        num_passages: N.
        links: edges between passages.
        phrases: edges from passages to phrase nodes, and the number of phrase nodes.
        grounds: the strength of each passage's relation to the task.
    """

    def __init__(
        self,
        num_passages: int,
        links: Links,
        phrases: tuple[NDArray[np.int64], int] | None = None,
        grounds: Sequence[float] | None = None,
        damping: float = 0.5,
    ) -> None:
        self.num_passages = num_passages
        ends, kinds = [links.ends], [links.kinds]
        nodes = num_passages
        if phrases is not None:
            ends.append(phrases[0])
            kinds.append(np.full(len(phrases[0]), KINDS.index("phrase"), np.int8))
            nodes += phrases[1]
        every = np.concatenate(ends)
        degree = np.bincount(every.ravel(), minlength=nodes)
        weights = [1 / np.sqrt(degree[every[:, 0]] * degree[every[:, 1]])] if len(every) else [np.empty(0)]
        self.task: int | None = None
        if grounds is not None:
            self.task, nodes = nodes, nodes + 1
            grounded = np.flatnonzero(np.asarray(grounds) > 0)
            every = np.concatenate([every, np.column_stack([grounded, np.full(len(grounded), self.task)])])
            kinds.append(np.full(len(grounded), KINDS.index("grounds"), np.int8))
            weights.append(np.asarray(grounds, np.float64)[grounded])
        self.ends, self.kinds, self.num_nodes = every, np.concatenate(kinds), nodes
        self.pagerank = PersonalisedPageRank(nodes, every, torch.from_numpy(np.concatenate(weights)), damping)
        pairs = np.sort(every, 1) @ np.array([nodes, 1])
        order = np.argsort(pairs, kind="stable")
        self._pairs, self._pair_kinds = pairs[order], self.kinds[order]

    def came_by(self, node: int, visits: Visits, reset: Mapping[int, float]) -> Via | None:
        """The edge that contributed most visits of a node. None if more visits started at the node than came over this edge, or if the
        walk went in the other direction, from this node to one with fewer visits."""
        graph = self.pagerank
        neighbours, probability = graph.arriving(node)
        if not len(neighbours):
            return None
        brought = graph.damping * visits.at(neighbours) * probability
        best = int(np.argmax(brought))
        other = int(neighbours[best])
        from_it = visits.at(neighbours[best : best + 1])[0] >= visits.at(np.array([node]))[0]
        stronger = from_it or reset.get(other, 0.0) >= reset.get(node, 0.0)
        if brought[best] <= (1 - graph.damping) * reset.get(node, 0.0) or not stronger:
            return None
        pair = min(node, other) * self.num_nodes + max(node, other)
        return Via(KINDS[self._pair_kinds[np.searchsorted(self._pairs, pair)]], other)


class WalkRetriever:
    """Personalised PageRank that starts from the hits of other retrievers.

    The reset distribution: their fused scores, relative to the best, to the fourth power. A task node gets a tenth of the best.

    Args:
        retrievers: one or several; several are fused by score.
        graph: nodes 0 to N-1 are the passages.
        epsilon: with 0, power iteration over the whole graph; above 0, local push with this bound, whose cost does not grow with the graph.
    """

    BATCH = 16

    def __init__(self, retrievers: Sequence[Retriever], graph: ContextGraph, epsilon: float = 0.0) -> None:
        self.name = "walk" if len(retrievers) == 1 else "hybrid_walk"
        self.retrievers, self.graph, self.epsilon = list(retrievers), graph, epsilon
        self.sharpness, self.shares = SHARPNESS, SEED_SHARES

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        lists = {retriever.name: retriever.search(queries, CANDIDATES) for retriever in self.retrievers}
        seeds = [
            score_fusion({name: hits[row] for name, hits in lists.items()}, CANDIDATES, self.shares)
            for row in range(len(queries))
        ]
        resets = [self._reset(found) for found in seeds]
        answers: list[list[Hit]] = []
        for start in range(0, len(queries), self.BATCH):
            part = resets[start : start + self.BATCH]
            answers += [
                self._hits(visits, reset, found, k)
                for visits, reset, found in zip(self._walks(part), part, seeds[start:], strict=False)
            ]
        return answers

    def _reset(self, seeds: Sequence[Hit]) -> dict[int, float]:
        if not seeds:
            return {}
        best = seeds[0].score
        reset = {hit.position: (hit.score / best) ** self.sharpness for hit in seeds}
        if self.graph.task is not None:
            reset[self.graph.task] = TASK_SHARE
        return reset

    def _walks(self, resets: Sequence[Mapping[int, float]]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """For each reset distribution, the nodes that were reached and their visit probabilities."""
        nothing = (np.empty(0, np.int64), np.empty(0))
        if self.epsilon > 0:
            return [self.graph.pagerank.push(reset, self.epsilon) if reset else nothing for reset in resets]
        full = torch.zeros(self.graph.num_nodes, len(resets))
        for column, reset in enumerate(resets):
            full[list(reset), column] = torch.tensor(list(reset.values()))
        empty = full.sum(0) == 0
        full[:, empty] = 1.0
        every = np.arange(self.graph.num_nodes)
        visits = self.graph.pagerank.walk(full).T.contiguous().double().numpy()
        return [nothing if empty[row] else (every, visits[row]) for row in range(len(resets))]

    def _hits(
        self,
        walked: tuple[NDArray[np.int64], NDArray[np.float64]],
        reset: Mapping[int, float],
        seeds: Sequence[Hit],
        k: int,
    ) -> list[Hit]:
        nodes, probability = walked
        passages = probability[: np.searchsorted(nodes, self.graph.num_passages)]
        order = largest(passages, k)
        total = sum(reset.values())
        share = {node: weight / total for node, weight in reset.items()}
        said = {hit.position: hit.scores for hit in seeds}
        visits = Visits(nodes, probability)
        hits = []
        for place in order:
            node, score = int(nodes[place]), float(probability[place])
            via = self.graph.came_by(node, visits, share)
            hits.append(Hit(node, score, {**said.get(node, {}), "walk": score}, via))
        return hits
