"""Personalised PageRank on an undirected weighted graph: on all of it by batched power iteration, or near the seeds by local push.

    y = d P y + (1 - d) r,   P the column-normalised weights, r the reset distribution, d the damping

(Page et al. 1999; Haveliwala 2002). Mass on a node without edges returns to the reset distribution, as in networkx.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

TOLERANCE = 1e-6
"""Power iteration stops when less mass than this still moves."""


class PersonalisedPageRank:
    """A graph prepared for walks.

    Args:
        num_nodes: N.
        ends: [E, 2] nodes of each edge; parallel edges add up.
        weights: [E], above 0; with `requires_grad`, walks are differentiable in them.
        damping: probability of continuing at each step.
    """

    def __init__(self, num_nodes: int, ends: NDArray[np.int64], weights: Tensor, damping: float = 0.5) -> None:
        self.num_nodes, self.damping = num_nodes, damping
        both = torch.from_numpy(np.concatenate([ends, ends[:, ::-1]]).reshape(-1, 2))
        self._source, self._target = both[:, 0], both[:, 1]
        doubled = weights.double().repeat(2)
        total = torch.zeros(num_nodes, dtype=torch.float64).index_add(0, self._source, doubled)
        self._dangling = (total == 0).nonzero().squeeze(-1)
        self._probability = doubled / total[self._source]  # probability of going from source to target
        self.total = total.detach().numpy()
        self._matrix: Tensor | None = None
        rows = sparse.csr_matrix(
            (self._probability.detach().numpy(), (self._source.numpy(), self._target.numpy())),
            shape=(num_nodes, num_nodes),
        )
        rows.sort_indices()
        self.steps = rows
        """CSR [N, N]: row i has the probabilities of going from i."""
        if not weights.requires_grad:
            columns = rows.T.tocsr()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support is in beta.*")
                self._matrix = torch.sparse_csr_tensor(
                    torch.from_numpy(columns.indptr),
                    torch.from_numpy(columns.indices),
                    torch.from_numpy(columns.data.astype(np.float32)),
                    columns.shape,
                    check_invariants=True,
                )

    def arriving(self, node: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(neighbours of a node, probability of going from each of them to it)."""
        entries = slice(self.steps.indptr[node], self.steps.indptr[node + 1])
        neighbours = self.steps.indices[entries]
        return neighbours, self.steps.data[entries] * self.total[node] / self.total[neighbours]

    def walk(self, reset: Tensor, tolerance: float = TOLERANCE) -> Tensor:
        """Reset weights [N, queries], each column non-negative with a positive sum -> visit probabilities [N, queries]."""
        iterations = max(1, math.ceil(math.log(tolerance) / math.log(self.damping)))
        if self._matrix is None:
            return self._walk_with_gradients(reset.double(), iterations)
        reset = reset.float() / reset.sum(0, keepdim=True).float()
        visits, start = reset, (1 - self.damping) * reset
        for _ in range(iterations):  # float32 and in place, because memory access takes most of the time
            lost = visits[self._dangling].sum(0) if len(self._dangling) else None
            visits = (self._matrix @ visits).mul_(self.damping).add_(start)
            if lost is not None:
                visits.add_(reset * (self.damping * lost))
        return visits

    def _walk_with_gradients(self, reset: Tensor, iterations: int) -> Tensor:
        reset = reset / reset.sum(0, keepdim=True)
        visits = reset
        for _ in range(iterations):
            moved = visits[self._source] * self._probability[:, None]
            arrived = torch.zeros_like(visits).index_add(0, self._target, moved)
            lost = visits[self._dangling].sum(0)
            visits = self.damping * (arrived + reset * lost) + (1 - self.damping) * reset
        return visits

    def push(self, reset: Mapping[int, float], epsilon: float = 1e-5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A walk near its seeds (Andersen, Chung & Lang 2006). Its cost does not grow with the graph.

        A node is pushed if its residual mass is above `epsilon` times its number of edges; all such nodes are pushed at once, until there are
        none. The error of a visit probability is at most the remaining residual mass.

        Args:
            reset: node -> weight, positive.

        Returns:
            the nodes that were reached, ascending, and their visit probabilities.
        """
        nodes = np.array(sorted(reset), np.int64)
        start = np.array([reset[int(node)] for node in nodes], np.float64)
        start /= start.sum()
        seeds, residual, visits = nodes, start.copy(), np.zeros(len(nodes))
        indptr, indices, probability = self.steps.indptr, self.steps.indices, self.steps.data
        while True:
            degree = indptr[nodes + 1] - indptr[nodes]
            pushed = residual > epsilon * np.maximum(degree, 1)
            if not pushed.any():
                return nodes, visits + (
                    1 - self.damping
                ) * residual  # the rest stays where it is: still no overestimate
            sources, mass, counts = nodes[pushed], residual[pushed], degree[pushed]
            visits[pushed] += (1 - self.damping) * mass
            residual[pushed] = 0.0
            entries = np.arange(counts.sum()) + np.repeat(indptr[sources] - (np.cumsum(counts) - counts), counts)
            arriving = self.damping * np.repeat(mass, counts) * probability[entries]
            lost = self.damping * mass[counts == 0].sum()
            reached = np.concatenate([nodes, indices[entries], seeds])
            arrived = np.concatenate([residual, arriving, lost * start])
            merged, place = np.unique(reached, return_inverse=True)
            residual = np.bincount(place, arrived, minlength=len(merged)).astype(np.float64)
            kept = np.zeros(len(merged))
            kept[place[: len(nodes)]] = visits
            nodes, visits = merged, kept
