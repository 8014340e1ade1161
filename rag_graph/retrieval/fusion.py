"""Fusing rankings: by rank (Cormack, Clarke & Büttcher 2009), or by score (CombSUM, Fox & Shaw 1994)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from rag_graph.retrieval.base import CANDIDATES, Hit, Retriever

RANK_CONSTANT = 60


def reciprocal_rank_fusion(rankings: Mapping[str, Sequence[Hit]], k: int) -> list[Hit]:
    """score = sum over lists of 1 / (60 + rank). Scores may have different scales. Ties by position."""
    fused: dict[int, float] = {}
    for hits in rankings.values():
        for rank, hit in enumerate(hits, 1):
            fused[hit.position] = fused.get(hit.position, 0.0) + 1 / (RANK_CONSTANT + rank)
    return _ranked(fused, rankings)[:k]


class Share(NamedTuple):
    """What a list brings to a fusion: weight * (score / best score of the list) ** power."""

    weight: float = 1.0
    power: float = 1.0


def score_fusion(
    rankings: Mapping[str, Sequence[Hit]], k: int, shares: Mapping[str, Share] = MappingProxyType({})
) -> list[Hit]:
    """score = sum over lists of (score / best score of the list), as `shares` weighs it. Unlike ranks, this keeps the distance to the best.

    Args:
        shares: of lists by name; default `Share()`.
    """
    fused: dict[int, float] = {}
    for name, hits in rankings.items():
        weight, power = shares.get(name, Share())
        for hit in hits:
            fused[hit.position] = fused.get(hit.position, 0.0) + weight * (hit.score / hits[0].score) ** power
    return _ranked(fused, rankings)[:k]


def _ranked(fused: Mapping[int, float], rankings: Mapping[str, Sequence[Hit]]) -> list[Hit]:
    said: dict[int, dict[str, float]] = {position: {} for position in fused}
    for name, hits in rankings.items():
        for hit in hits:
            said[hit.position] |= hit.scores or {name: hit.score}
    order = sorted(fused, key=lambda position: (-fused[position], position))
    return [Hit(position, fused[position], said[position]) for position in order]


class FusedRetriever:
    """Several retrievers as one, by reciprocal rank fusion. It helps if they make different errors, such as words and meaning."""

    name = "hybrid"

    def __init__(self, retrievers: Sequence[Retriever]) -> None:
        self.retrievers = list(retrievers)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        lists = {retriever.name: retriever.search(queries, CANDIDATES) for retriever in self.retrievers}
        return [
            reciprocal_rank_fusion({name: hits[row] for name, hits in lists.items()}, k) for row in range(len(queries))
        ]


class WeightedRetriever:
    """A retriever whose scores are multiplied by a weight per passage: the strength of its `grounds` edge."""

    def __init__(self, retriever: Retriever, weights: Sequence[float]) -> None:
        self.name, self.retriever, self.weights = retriever.name, retriever, weights

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        answers = []
        for hits in self.retriever.search(queries, CANDIDATES):
            weighted = [
                hit._replace(score=hit.score * self.weights[hit.position], scores={self.name: hit.score, **hit.scores})
                for hit in hits
            ]
            kept = [hit for hit in weighted if hit.score > 0]
            answers.append(sorted(kept, key=lambda hit: (-hit.score, hit.position))[:k])
        return answers
