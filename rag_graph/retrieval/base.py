"""What every retriever offers. `tests/contracts/retriever.py` is the suite that any implementation must pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import DataError

CANDIDATES = 100
"""How deep a retriever that combines others looks into each of them, whatever is asked of it."""

_NOTHING: Mapping[str, float] = MappingProxyType({})


class Via(NamedTuple):
    """The edge that a walk came by: its kind, and the node at its other end (a passage, or a node numbered after them)."""

    kind: str
    node: int


class Hit(NamedTuple):
    """Position of a passage in the pool, and how well it fits; higher is better.

    `scores` says what every retriever behind this one said of it; `via` by which edge a walk reached it, where that brought more than its own words.
    """

    position: int
    score: float
    scores: Mapping[str, float] = _NOTHING
    via: Via | None = None


class Retriever(Protocol):
    """Ranks the passages of one pool for queries."""

    name: str

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query at most `k` hits, best first, no position twice, ties by position; an empty list where nothing fits.

        Args:
            queries: any text; an empty query finds nothing.
            k: at least 1.
        """
        ...


class CheckedRetriever:
    """Somebody's own retriever, held to the protocol: what it gives is used as it is, or refused with its name."""

    def __init__(self, retriever: Retriever, size: int) -> None:
        self.retriever, self.size = retriever, size
        self.name = str(getattr(retriever, "name", type(retriever).__name__))

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        answers = self.retriever.search(queries, k)
        if len(answers) != len(queries):
            raise DataError(f"retriever '{self.name}': {len(answers)} lists of hits for {len(queries)} queries.")
        for hits in answers:
            positions = [hit.position if isinstance(hit, Hit) else None for hit in hits]
            sound = all(position is not None and 0 <= position < self.size for position in positions)
            if not sound or len(set(positions)) < len(positions) or not all(math.isfinite(hit.score) for hit in hits):
                raise DataError(
                    f"retriever '{self.name}': hits must be Hit(position, score), position from 0 to {self.size - 1} and none twice, score a finite "
                    f"number; it gave {list(hits)[:3]}."
                )
        return [list(hits)[:k] for hits in answers]


def check_pool(size: int) -> None:
    """Raises DataError for an empty pool."""
    if size == 0:
        raise DataError(
            "retrieval: the pool of passages is empty. Give the task a context with `grounds`, or set retrieval.method=none."
        )


def largest(scores: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Places of the `k` largest positive scores, best first, ties by place."""
    k = min(k, len(scores))
    if k == 0:
        return np.empty(0, np.intp)
    threshold = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero(scores >= max(threshold, np.finfo(np.float32).tiny))
    return candidates[np.lexsort((candidates, -scores[candidates]))][:k]


def best_hits(scores: NDArray[np.floating], k: int) -> list[Hit]:
    """The `k` largest positive scores, best first, ties by position."""
    return [Hit(int(position), float(scores[position])) for position in largest(scores, k)]
