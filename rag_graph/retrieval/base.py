"""What every retriever offers. `tests/contracts/retriever.py` is the suite that any implementation must pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Hit(NamedTuple):
    """Position of a context node in the pool, and how well it fits; higher is better."""

    position: int
    score: float


class Retriever(Protocol):
    """Ranks the nodes of one pool for queries."""

    name: str

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query at most `k` hits, best first, no position twice, ties by position; an empty list where nothing fits.

        Args:
            queries: any text; an empty query finds nothing.
            k: at least 1.
        """
        ...
