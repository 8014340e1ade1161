"""The protocol of retrievers. Every implementation must pass the suite in `tests/contracts/retriever.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import DataError

CANDIDATES = 100
"""The number of hits that a combination of retrievers takes from each of them, for any k."""

_NOTHING: Mapping[str, float] = MappingProxyType({})


class Via(NamedTuple):
    """The edge that led a walk to a passage: its kind, and the node at its other end (a passage, or a node numbered after the passages)."""

    kind: str
    node: int


class Hit(NamedTuple):
    """The position of a passage in the pool, and its score; higher is better.

    `scores` has the score of every retriever behind this one. `via` is the edge by which a walk reached the passage, if the walk
    contributed more than the passage's own words.
    """

    position: int
    score: float
    scores: Mapping[str, float] = _NOTHING
    via: Via | None = None


class Retriever(Protocol):
    """It ranks the passages of one pool for queries."""

    name: str

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query at most `k` hits, best first, no position twice, ties by position; an empty list if nothing fits.

        Args:
            queries: any text; an empty query finds nothing.
            k: at least 1.
        """
        ...


class CheckedRetriever:
    """A retriever from outside this package. Its results are checked: an error names the retriever."""

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
    """Indices of the `k` largest positive scores, best first, ties by index."""
    k = min(k, len(scores))
    if k == 0:
        return np.empty(0, np.intp)
    threshold = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero(scores >= max(threshold, np.finfo(np.float32).tiny))
    return candidates[np.lexsort((candidates, -scores[candidates]))][:k]


def best_hits(scores: NDArray[np.floating], k: int) -> list[Hit]:
    """The `k` largest positive scores, best first, ties by position."""
    return [Hit(int(position), float(scores[position])) for position in largest(scores, k)]
