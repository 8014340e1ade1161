"""Personalised PageRank against networkx, gradients against differences, local push within its bound."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_graph.retrieval.pagerank import PersonalisedPageRank


def made_graph(seed: int) -> tuple[int, np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3, 25))
    ends = np.array([(a, b) for a, b in rng.integers(size, size=(size * 2, 2)) if a != b], np.int64).reshape(-1, 2)
    return size, ends, rng.uniform(0.1, 2, len(ends)), rng


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.5, 0.85]))
def test_the_walk_equals_networkx(seed: int, damping: float) -> None:
    size, ends, weights, rng = made_graph(seed)
    graph = networkx.Graph()
    graph.add_nodes_from(range(size))
    for (a, b), weight in zip(ends.tolist(), weights, strict=True):
        graph.add_edge(a, b, weight=weight + (graph[a][b]["weight"] if graph.has_edge(a, b) else 0))
    reset = rng.random((size, 3)) + 0.01
    walker = PersonalisedPageRank(size, ends, torch.from_numpy(weights), damping)
    found = walker.walk(torch.from_numpy(reset), tolerance=1e-12).numpy()
    pushed = walker.push(dict(enumerate(reset[:, 0])), epsilon=1e-12)
    for column in range(3):
        expected = networkx.pagerank(
            graph, alpha=damping, personalization=dict(enumerate(reset[:, column])), tol=1e-12, max_iter=500
        )
        assert found[:, column] == pytest.approx([expected[node] for node in range(size)], abs=1e-6)
        if column == 0:
            assert pushed[1] == pytest.approx([expected[int(node)] for node in pushed[0]], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_push_never_overestimates_and_misses_at_most_what_it_left(seed: int) -> None:
    size, ends, weights, _ = made_graph(seed)
    walker = PersonalisedPageRank(size, ends, torch.from_numpy(weights))
    exact = walker.walk(torch.eye(size)[:, :1], tolerance=1e-12)[:, 0].numpy()
    for epsilon in (1e-1, 1e-3):
        nodes, visits = walker.push({0: 1.0}, epsilon)
        missing = exact[nodes] - visits
        assert missing.min() > -1e-7
        edges = max(2 * len(ends), size)
        assert exact.sum() - visits.sum() <= epsilon * edges + 1e-6


def test_the_walk_has_gradients_in_the_edge_weights() -> None:
    size, ends, weights, _ = made_graph(3)
    moving = torch.tensor(weights, requires_grad=True)
    reset = torch.rand(size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def visits(values: torch.Tensor) -> torch.Tensor:
        return PersonalisedPageRank(size, ends, values).walk(reset)

    assert visits(moving).detach().numpy() == pytest.approx(visits(torch.tensor(weights)).numpy(), abs=1e-6)
    assert torch.autograd.gradcheck(visits, (moving,), atol=1e-6)


@pytest.mark.parametrize("damping", [0.85, 0.95])
def test_power_iteration_goes_on_until_nothing_is_on_its_way(damping: float) -> None:
    size, ends, weights, _ = made_graph(5)
    walker = PersonalisedPageRank(size, ends, torch.from_numpy(weights), damping)
    reset = torch.zeros(size, 1).index_fill(0, torch.tensor([0]), 1.0)
    assert (walker.walk(reset) - walker.walk(reset, tolerance=1e-14)).abs().sum() < 1e-5
