"""Reciprocal rank fusion (Cormack, Clarke & Büttcher 2009): score = sum over lists of 1 / (60 + rank)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_graph.retrieval.base import Hit

RANK_CONSTANT = 60


def reciprocal_rank_fusion(rankings: Mapping[str, Sequence[Hit]], k: int) -> list[Hit]:
    """Fuse rankings by rank alone, so that scores of different scale can meet. Ties by position."""
    fused: dict[int, float] = {}
    for hits in rankings.values():
        for rank, hit in enumerate(hits, 1):
            fused[hit.position] = fused.get(hit.position, 0.0) + 1 / (RANK_CONSTANT + rank)
    order = sorted(fused, key=lambda position: (-fused[position], position))[:k]
    return [Hit(position, fused[position]) for position in order]
