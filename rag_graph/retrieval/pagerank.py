"""Personalised PageRank over the context graph by batched power iteration.

Y <- damping P Y + (1 - damping) R, with P the column-normalised weighted adjacency and one column of R per query (Page et al.
1999; Haveliwala 2002). Mass on a node without edges goes back to its query's reset distribution, as in networkx.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ITERATIONS = 20


class PersonalisedPageRank:
    """An undirected weighted graph, ready for walks.

    Args:
        num_nodes: N.
        edges: (node, node, weight) triples; weights above 0; parallel edges add up.
        damping: probability of going on at each step.
    """

    def __init__(self, num_nodes: int, edges: Sequence[tuple[int, int, float]], damping: float = 0.5) -> None:
        rows = np.array([a for a, b, _ in edges] + [b for a, b, _ in edges], dtype=np.int64)
        columns = np.array([b for a, b, _ in edges] + [a for a, b, _ in edges], dtype=np.int64)
        weights = np.array([w for _, _, w in edges] * 2, dtype=np.float64)
        adjacency = sparse.csr_matrix((weights, (rows, columns)), shape=(num_nodes, num_nodes))
        total = np.asarray(adjacency.sum(0)).ravel()
        self._dangling = total == 0
        scale = np.divide(1.0, total, out=np.zeros(num_nodes), where=total > 0)
        self._transition = adjacency @ sparse.diags(scale)  # columns sum to 1, or to 0 where dangling
        self.damping = damping

    def walk(self, reset: NDArray[np.float64], iterations: int = ITERATIONS) -> NDArray[np.float64]:
        """Reset weights [N, queries], each column non-negative with a positive sum -> visit probabilities [N, queries]."""
        reset = reset / reset.sum(0, keepdims=True)
        visits = reset
        for _ in range(iterations):
            lost = visits[self._dangling].sum(0)
            visits = self.damping * (self._transition @ visits + reset * lost) + (1 - self.damping) * reset
        return visits
