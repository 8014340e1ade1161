"""Katz credit over `supports`: sums over paths, cycles, and what diverges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy import linalg

from rag_graph.errors import ConfigError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.graph_tensors import GraphTensors, check_damping, katz_credit, longest_path, spectral_radius


def test_credit_is_the_sum_over_paths(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "supports", 0.6), ("c1", "c0", "supports", 0.5)]))
    credit = katz_credit(tensors.goal[None] * torch.tensor([[1.0, 0, 0, 0, 0]]), tensors, 0.5)
    assert credit[0].tolist() == pytest.approx([1.0, 0.0, 0.5 * 0.6, 0.25 * 0.6 * 0.5, 0.0])
    supports = np.zeros((5, 5))
    for e, source, target in zip(*(part.tolist() for part in tensors.ends("credit")), strict=True):
        supports[source, target] = tensors.strength[e]
    weights = tensors.goal.numpy()
    series = sum(0.5**power * linalg.matrix_power(supports, power) @ weights for power in range(20))
    assert katz_credit(tensors.goal[None], tensors, 0.5)[0].tolist() == pytest.approx(series.tolist(), abs=1e-5)


def test_credit_that_diverges_is_refused(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "c1", "supports", 1.0), ("c1", "c0", "supports", 1.0)]))
    with pytest.raises(ConfigError, match=r"not below 1.*Set reward\.damping below 1"):
        check_damping(tensors, 1.0)


def test_only_cycles_have_a_spectral_radius(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    chain = GraphTensors.of(make_graph([("c0", "c1", "supports"), ("c1", "t", "supports")]))
    assert spectral_radius(chain) == 0.0
    assert longest_path(chain, 0.5) == 2
    cycle = GraphTensors.of(make_graph([("c0", "c1", "supports", 0.4), ("c1", "c0", "supports", 0.9)]))
    assert spectral_radius(cycle) == pytest.approx(0.6)
    dense = np.zeros((5, 5))
    dense[2, 3], dense[3, 2] = 0.4, 0.9
    weights = np.array([1.0, 0.5, 0.2, 0.1, 0.0])
    exact = np.linalg.solve(np.eye(5) - 0.9 * dense, weights)
    found = katz_credit(torch.tensor(weights, dtype=torch.float32)[None], cycle, 0.9)
    assert found[0].tolist() == pytest.approx(exact.tolist(), abs=1e-4)
