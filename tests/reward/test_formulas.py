"""Oracles 3 and 6: flat without edges, exact gates. Credit, penalties and walks recomputed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.reward.formulas import (
    aggregate,
    diffusion_weights,
    expected_utility,
    gate,
    graph_weights,
    opened,
    own_weights,
)
from rag_graph.reward.graph_tensors import GraphTensors

scores = st.lists(st.floats(0, 1, width=32), min_size=5, max_size=5)


def test_without_edges_the_graph_is_the_flat_sum_exactly(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([]))
    tasks = torch.tensor([0, 1, 0])
    assert torch.equal(graph_weights(tensors, tasks, 0.3, 0.5), own_weights(tensors, tasks, 0.3))
    values = torch.rand(3, 5)
    assert torch.equal(gate(aggregate(values, tensors, tensors.applies[tasks]), tensors)[0], values)
    assert own_weights(tensors, tasks, 0.3)[0].tolist() == pytest.approx([1.0, 0.0, 0.1, 0.1, 0.1])
    assert own_weights(tensors, tasks, 0.3)[1].tolist() == pytest.approx([0.0, 0.5, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("relation", ["prerequisite", "supports", "conflicts", "part_of", "shares_structure"])
def test_strength_zero_is_an_edge_removed(relation: str, make_graph: Callable[..., AuxiliaryGraph]) -> None:
    others = [("c1", "t", "supports", 0.4), ("c2", "t", "prerequisite", 0.7)]
    with_zero = GraphTensors.of(make_graph([*others, ("c0", "t", relation, 0.0)]))
    without = GraphTensors.of(make_graph(others))
    tasks, values = torch.tensor([0, 1]), torch.rand(2, 5)
    assert torch.allclose(graph_weights(with_zero, tasks, 0.3, 0.5), graph_weights(without, tasks, 0.3, 0.5))
    for tensors in (with_zero, without):
        values_out = gate(aggregate(values, tensors, tensors.applies[tasks]), tensors)[0]
        assert torch.allclose(values_out, gate(aggregate(values, without, without.applies[tasks]), without)[0])


@given(row=scores, better=st.floats(0, 1, width=32))
def test_strict_gate_pays_zero_and_gates_are_monotone(
    row: list[float], better: float, make_graph: Callable[..., AuxiliaryGraph]
) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "prerequisite", 1.0), ("c1", "t", "prerequisite", 0.6)]))
    values = torch.tensor([row])
    failed = values.clone()
    failed[0, 2] = 0.0  # c0
    assert gate(failed, tensors)[0][0, 0].item() == 0.0
    improved = values.clone()
    improved[0, 3] = max(row[3], better)  # c1
    assert gate(improved, tensors)[0][0, 0] >= gate(values, tensors)[0][0, 0]
    by_hand = row[0] * row[2] * (0.4 + 0.6 * row[3])
    assert gate(values, tensors)[0][0, 0].item() == pytest.approx(by_hand, abs=1e-5)


def test_gates_pass_on_along_a_chain(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c1", "c0", "prerequisite", 1.0), ("c0", "t", "prerequisite", 1.0)]))
    gated, _ = gate(torch.tensor([[0.9, 0.1, 0.8, 0.5, 0.2]]), tensors)
    assert gated[0, 2].item() == pytest.approx(0.8 * 0.5)
    assert gated[0, 0].item() == pytest.approx(0.9 * 0.8 * 0.5)


def test_a_cycle_of_prerequisites_raises(write_graph: Callable[..., Path]) -> None:
    path = write_graph(
        "format: 1\nname: g\ntasks:\n  t: {kind: generation, metrics: {bleu: 1}, prompt: x}\n  u: {kind: generation, metrics: {bleu: 1}, prompt: x}\n"
        "edges:\n  - {from: t, to: u, relation: prerequisite}\n  - {from: u, to: t, relation: prerequisite}\n"
    )
    with pytest.raises(GraphFileError, match="prerequisites form a cycle: (t -> u -> t|u -> t -> u)"):
        load_graph(path)


def test_components_enter_with_their_strength(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "part_of", 0.5), ("c1", "t", "part_of", 1.0)]))
    mixed = aggregate(torch.tensor([[0.2, 0.0, 0.8, 0.4, 0.9]]), tensors, tensors.applies[torch.tensor([0])])
    assert mixed[0, 0].item() == pytest.approx((0.2 + 0.5 * 0.8 + 1.0 * 0.4) / 2.5)
    assert mixed[0, 4].item() == pytest.approx(0.9)


def test_a_conflict_costs_by_its_strength_and_its_targets_weight(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    weights = graph_weights(GraphTensors.of(make_graph([("c0", "t", "conflicts", 0.8)])), torch.tensor([0]), 0.3, 0.5)
    assert weights[0].tolist() == pytest.approx([1.0, 0.0, -0.8 * 0.3, 0.15, 0.15])


def test_the_last_objective_is_the_goal_itself(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "supports", 0.6), ("c1", "t", "prerequisite", 0.6)]))
    assert graph_weights(tensors, torch.tensor([0]), 0.0, 0.5)[0].tolist() == pytest.approx([1.0, 0, 0, 0, 0])


def test_a_criterion_acts_only_where_its_target_is_in_play(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "prerequisite", 0.9)]))
    of_t, of_u = graph_weights(tensors, torch.tensor([0, 1]), 0.3, 0.5)
    assert of_t.tolist() == pytest.approx([1.0, 0.0, 0.0, 0.15, 0.15]), "a gate of t is not paid flat in episodes of t"
    assert of_u.tolist() == pytest.approx([0.0, 0.5, 0.1, 0.1, 0.1]), "in episodes of u it gates nothing and is paid"


def test_a_task_earns_and_pays_for_other_tasks(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    helped = graph_weights(GraphTensors.of(make_graph([("u", "t", "supports", 0.6)])), torch.tensor([1]), 0.3, 0.5)
    assert helped[0, 1].item() == pytest.approx(0.5 + 0.3 * 0.5 * 0.6 * 1.0)
    hurt = graph_weights(GraphTensors.of(make_graph([("u", "t", "conflicts", 0.8)])), torch.tensor([1]), 0.3, 0.5)
    assert hurt[0, 1].item() == pytest.approx(0.5 - 0.3 * 0.8 * 1.0)


def test_supporting_an_answer_whose_prerequisite_failed_is_worth_nothing(
    make_graph: Callable[..., AuxiliaryGraph],
) -> None:
    graph = make_graph([("c0", "t", "prerequisite", 1.0), ("c1", "t", "supports", 0.6), ("c2", "c1", "supports", 0.5)])
    tensors, tasks = GraphTensors.of(graph), torch.tensor([0, 0])
    _, gates = gate(torch.tensor([[0.9, 0.5, 0.0, 1.0, 1.0], [0.9, 0.5, 0.25, 1.0, 1.0]]), tensors)
    shares = opened(tensors, tasks, gates, 0.5)
    assert shares[0].tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0, 0.0])
    assert shares[1].tolist() == pytest.approx([1.0, 1.0, 1.0, 0.25, 0.25])


def test_diffusion_is_the_signed_walk_solved_exactly(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    edges = [("c0", "t", "supports", 0.6), ("c1", "t", "conflicts", 0.2), ("c2", "c0", "prerequisite", 0.5)]
    weights = diffusion_weights(GraphTensors.of(make_graph(edges)), torch.tensor([0]))[0]
    step = np.zeros((5, 5))  # from column to row
    step[2, 0], step[3, 0], step[4, 2] = 0.75, -0.25, 1.0
    exact = np.linalg.solve(np.eye(5) - 0.5 * step, 0.5 * np.eye(5)[0])
    assert weights.tolist() == pytest.approx(exact.tolist(), abs=1e-5)
    assert weights[3] < 0 < weights[4]


def test_gears_utility_is_signed_and_sums_to_one(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    edges = [("c0", "t", "prerequisite", 0.8), ("c1", "t", "supports", 0.5), ("c2", "t", "conflicts", 0.5)]
    tensors = GraphTensors.of(make_graph(edges))
    observed = torch.tensor([[True] * 5, [False, True, True, True, True]])
    weights = expected_utility(tensors, torch.tensor([0, 0]), observed)
    assert weights[1].tolist() == pytest.approx([0.0, 0.0, 0.8 / 1.8, 0.5 / 1.8, -0.5 / 1.8])
    assert weights[0].tolist() == pytest.approx([1 / 2.8, 0.0, 0.8 / 2.8, 0.5 / 2.8, -0.5 / 2.8])


def test_many_prerequisites_on_many_levels_equal_the_loop(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """The level by level product against the formula taken literally."""
    chosen = torch.Generator().manual_seed(5)
    edges = [
        (f"c{j}", f"c{i}", "prerequisite", round(torch.rand((), generator=chosen).item(), 2))
        for i in range(9)
        for j in range(i + 1, 9)
        if torch.rand((), generator=chosen) < 0.4
    ]
    graph = make_graph([*edges, ("c0", "t", "prerequisite", 1.0)], criteria=9)
    tensors, values = GraphTensors.of(graph), torch.rand(4, 11, generator=chosen)
    values[0, 7] = 0.0
    expected = values.clone()
    for node in graph.gate_order():
        for e, stated in enumerate(graph.spec.edges):
            if graph.index[stated.target] == node:
                source = expected[:, graph.index[stated.source]]
                expected[:, node] *= 1 - tensors.strength[e] + tensors.strength[e] * source
    assert torch.allclose(gate(values, tensors)[0], expected, atol=1e-5)
