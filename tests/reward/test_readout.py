"""Oracles 3, 6 and 7 of the reward: flat without edges, exact gates, normalisation that ignores scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import linalg

from rag_graph.errors import ConfigError, GraphFileError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.reward.graph_tensors import GraphTensors, check_damping, katz_credit, longest_path, spectral_radius
from rag_graph.reward.readout import (
    RunningMoments,
    aggregate,
    diffusion_weights,
    expected_utility,
    gate,
    graph_weights,
    opened,
    own_weights,
)


def make_graph(edges: list[dict[str, object]], criteria: int = 3, goal: float = 1.0) -> AuxiliaryGraph:
    """Tasks `t` (goal) and `u`, criteria c0.. that apply to both, and the given edges."""
    task = {
        "kind": "generation",
        "metrics": {"rouge_l": 1.0},
        "prompt": "{input}",
        "fields": {"input": "x", "reference": "y"},
    }
    return AuxiliaryGraph(
        GraphSpec.model_validate(
            {
                "format": 1,
                "name": "g",
                "tasks": {"t": {**task, "goal": goal}, "u": {**task, "goal": 0.5}},
                "criteria": {f"c{i}": {"metric": "format"} for i in range(criteria)},
                "edges": edges,
            }
        )
    )


def edge(source: str, target: str, relation: str, strength: float = 0.5) -> dict[str, object]:
    return {"from": source, "to": target, "relation": relation, "strength": strength}


scores = st.lists(st.floats(0, 1, width=32), min_size=5, max_size=5)


def test_without_edges_the_graph_is_the_flat_sum_exactly() -> None:
    tensors = GraphTensors.of(make_graph([]))
    tasks = torch.tensor([0, 1, 0])
    assert torch.equal(graph_weights(tensors, tasks, 0.3, 0.5), own_weights(tensors, tasks, 0.3))
    values = torch.rand(3, 5)
    assert torch.equal(gate(aggregate(values, tensors, tensors.applies[tasks]), tensors)[0], values)
    assert own_weights(tensors, tasks, 0.3)[0].tolist() == pytest.approx([1.0, 0.0, 0.1, 0.1, 0.1])
    assert own_weights(tensors, tasks, 0.3)[1].tolist() == pytest.approx([0.0, 0.5, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("relation", ["prerequisite", "supports", "conflicts", "part_of", "shares_structure"])
def test_strength_zero_is_an_edge_removed(relation: str) -> None:
    others = [edge("c1", "t", "supports", 0.4), edge("c2", "t", "prerequisite", 0.7)]
    with_zero = GraphTensors.of(make_graph([*others, edge("c0", "t", relation, 0.0)]))
    without = GraphTensors.of(make_graph(others))
    tasks, values = torch.tensor([0, 1]), torch.rand(2, 5)
    assert torch.allclose(graph_weights(with_zero, tasks, 0.3, 0.5), graph_weights(without, tasks, 0.3, 0.5))
    for tensors in (with_zero, without):
        values_out = gate(aggregate(values, tensors, tensors.applies[tasks]), tensors)[0]
        assert torch.allclose(values_out, gate(aggregate(values, without, without.applies[tasks]), without)[0])


@given(scores, st.floats(0, 1, width=32))
def test_strict_gate_pays_zero_and_gates_are_monotone(row: list[float], better: float) -> None:
    tensors = GraphTensors.of(make_graph([edge("c0", "t", "prerequisite", 1.0), edge("c1", "t", "prerequisite", 0.6)]))
    values = torch.tensor([row])
    failed = values.clone()
    failed[0, 2] = 0.0  # c0
    assert gate(failed, tensors)[0][0, 0].item() == 0.0
    improved = values.clone()
    improved[0, 3] = max(row[3], better)  # c1
    assert gate(improved, tensors)[0][0, 0] >= gate(values, tensors)[0][0, 0]
    by_hand = row[0] * row[2] * (0.4 + 0.6 * row[3])
    assert gate(values, tensors)[0][0, 0].item() == pytest.approx(by_hand, abs=1e-5)


def test_gates_pass_on_along_a_chain() -> None:
    tensors = GraphTensors.of(make_graph([edge("c1", "c0", "prerequisite", 1.0), edge("c0", "t", "prerequisite", 1.0)]))
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


def test_components_enter_with_their_strength() -> None:
    tensors = GraphTensors.of(make_graph([edge("c0", "t", "part_of", 0.5), edge("c1", "t", "part_of", 1.0)]))
    mixed = aggregate(torch.tensor([[0.2, 0.0, 0.8, 0.4, 0.9]]), tensors, tensors.applies[torch.tensor([0])])
    assert mixed[0, 0].item() == pytest.approx((0.2 + 0.5 * 0.8 + 1.0 * 0.4) / 2.5)
    assert mixed[0, 4].item() == pytest.approx(0.9)


def test_credit_is_the_sum_over_paths() -> None:
    tensors = GraphTensors.of(make_graph([edge("c0", "t", "supports", 0.6), edge("c1", "c0", "supports", 0.5)]))
    credit = katz_credit(tensors.goal[None] * torch.tensor([[1.0, 0, 0, 0, 0]]), tensors, 0.5)
    assert credit[0].tolist() == pytest.approx([1.0, 0.0, 0.5 * 0.6, 0.25 * 0.6 * 0.5, 0.0])
    supports = np.zeros((5, 5))
    for e, source, target in zip(*(part.tolist() for part in tensors.ends("credit")), strict=True):
        supports[source, target] = tensors.strength[e]
    weights = tensors.goal.numpy()
    series = sum(0.5**power * linalg.matrix_power(supports, power) @ weights for power in range(20))
    assert katz_credit(tensors.goal[None], tensors, 0.5)[0].tolist() == pytest.approx(series.tolist(), abs=1e-6)


def test_credit_that_diverges_is_refused() -> None:
    tensors = GraphTensors.of(make_graph([edge("c0", "c1", "supports", 1.0), edge("c1", "c0", "supports", 1.0)]))
    with pytest.raises(ConfigError, match=r"not below 1.*Set reward\.damping below 1"):
        check_damping(tensors, 1.0)


def test_a_conflict_costs_by_its_strength_and_its_targets_weight() -> None:
    weights = graph_weights(
        GraphTensors.of(make_graph([edge("c0", "t", "conflicts", 0.8)])), torch.tensor([0]), 0.3, 0.5
    )
    assert weights[0].tolist() == pytest.approx([1.0, 0.0, -0.8 * 0.3, 0.15, 0.15])


def test_the_last_objective_is_the_goal_itself() -> None:
    tensors = GraphTensors.of(make_graph([edge("c0", "t", "supports", 0.6), edge("c1", "t", "prerequisite", 0.6)]))
    assert graph_weights(tensors, torch.tensor([0]), 0.0, 0.5)[0].tolist() == pytest.approx([1.0, 0, 0, 0, 0])


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_scale_does_not_matter_and_a_constant_stays_bounded(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(4000, 2, generator=generator)
    values[:, 1] = 0.7
    everywhere = torch.ones_like(values, dtype=torch.bool)
    plain, scaled = RunningMoments(2), RunningMoments(2)
    for chunk in values.split(500):
        plain.update(chunk, everywhere[: len(chunk)])
        scaled.update(chunk * 100, everywhere[: len(chunk)])
    first, second = plain.normalise(values), scaled.normalise(values * 100)
    assert torch.allclose(first[:, 0], second[:, 0], atol=0.02)
    assert plain.normalise(torch.tensor([[0.5, 0.7001]]))[0, 1].abs() < 0.1
    assert plain.normalise(torch.tensor([[0.5, 5.0]]))[0, 1].abs() <= 5.0


def test_running_moments_equal_numpy() -> None:
    values = torch.rand(700, 3, generator=torch.Generator().manual_seed(0))
    observed = torch.rand(700, 3, generator=torch.Generator().manual_seed(1)) < 0.4
    moments = RunningMoments(3)
    for start in range(0, 700, 70):
        moments.update(values[start : start + 70], observed[start : start + 70])
    for column in range(3):
        seen = values[observed[:, column], column]
        pseudo = torch.cat([seen, torch.tensor([0.5])])  # the prior counts as one observation of 1/2 with variance 1/12
        assert moments.mean[column].item() == pytest.approx(pseudo.mean().item(), abs=1e-5)
        variance = (((pseudo - pseudo.mean()) ** 2).sum() + 1 / 12) / len(pseudo)
        assert moments.variance[column].item() == pytest.approx(variance.item(), abs=1e-5)


def test_a_criterion_acts_only_where_its_target_is_in_play() -> None:
    tensors = GraphTensors.of(make_graph([edge("c0", "t", "prerequisite", 0.9)]))
    of_t, of_u = graph_weights(tensors, torch.tensor([0, 1]), 0.3, 0.5)
    assert of_t.tolist() == pytest.approx([1.0, 0.0, 0.0, 0.15, 0.15]), "a gate of t is not paid flat in episodes of t"
    assert of_u.tolist() == pytest.approx([0.0, 0.5, 0.1, 0.1, 0.1]), "in episodes of u it gates nothing and is paid"


def test_a_task_earns_and_pays_for_other_tasks() -> None:
    helped = graph_weights(GraphTensors.of(make_graph([edge("u", "t", "supports", 0.6)])), torch.tensor([1]), 0.3, 0.5)
    assert helped[0, 1].item() == pytest.approx(0.5 + 0.3 * 0.5 * 0.6 * 1.0)
    hurt = graph_weights(GraphTensors.of(make_graph([edge("u", "t", "conflicts", 0.8)])), torch.tensor([1]), 0.3, 0.5)
    assert hurt[0, 1].item() == pytest.approx(0.5 - 0.3 * 0.8 * 1.0)


def test_supporting_an_answer_whose_prerequisite_failed_is_worth_nothing() -> None:
    graph = make_graph(
        [edge("c0", "t", "prerequisite", 1.0), edge("c1", "t", "supports", 0.6), edge("c2", "c1", "supports", 0.5)]
    )
    tensors, tasks = GraphTensors.of(graph), torch.tensor([0, 0])
    _, gates = gate(torch.tensor([[0.9, 0.5, 0.0, 1.0, 1.0], [0.9, 0.5, 0.25, 1.0, 1.0]]), tensors)
    shares = opened(tensors, tasks, gates, 0.5)
    assert shares[0].tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0, 0.0])
    assert shares[1].tolist() == pytest.approx([1.0, 1.0, 1.0, 0.25, 0.25])


def test_only_cycles_have_a_spectral_radius() -> None:
    chain = GraphTensors.of(make_graph([edge("c0", "c1", "supports"), edge("c1", "t", "supports")]))
    assert spectral_radius(chain) == 0.0
    assert longest_path(chain, 0.5) == 2
    cycle = GraphTensors.of(make_graph([edge("c0", "c1", "supports", 0.4), edge("c1", "c0", "supports", 0.9)]))
    assert spectral_radius(cycle) == pytest.approx(0.6)
    dense = np.zeros((5, 5))
    dense[2, 3], dense[3, 2] = 0.4, 0.9
    weights = np.array([1.0, 0.5, 0.2, 0.1, 0.0])
    exact = np.linalg.solve(np.eye(5) - 0.9 * dense, weights)
    found = katz_credit(torch.tensor(weights, dtype=torch.float32)[None], cycle, 0.9)
    assert found[0].tolist() == pytest.approx(exact.tolist(), abs=1e-4)


def test_diffusion_is_the_signed_walk_solved_exactly() -> None:
    edges = [edge("c0", "t", "supports", 0.6), edge("c1", "t", "conflicts", 0.2), edge("c2", "c0", "prerequisite", 0.5)]
    weights = diffusion_weights(GraphTensors.of(make_graph(edges)), torch.tensor([0]))[0]
    step = np.zeros((5, 5))  # from column to row
    step[2, 0], step[3, 0], step[4, 2] = 0.75, -0.25, 1.0
    exact = np.linalg.solve(np.eye(5) - 0.5 * step, 0.5 * np.eye(5)[0])
    assert weights.tolist() == pytest.approx(exact.tolist(), abs=1e-5)
    assert weights[3] < 0 < weights[4]


def test_gears_utility_is_signed_and_sums_to_one() -> None:
    edges = [edge("c0", "t", "prerequisite", 0.8), edge("c1", "t", "supports", 0.5), edge("c2", "t", "conflicts", 0.5)]
    tensors = GraphTensors.of(make_graph(edges))
    observed = torch.tensor([[True] * 5, [False, True, True, True, True]])
    weights = expected_utility(tensors, torch.tensor([0, 0]), observed)
    assert weights[1].tolist() == pytest.approx([0.0, 0.0, 0.8 / 1.8, 0.5 / 1.8, -0.5 / 1.8])
    assert weights[0].tolist() == pytest.approx([1 / 2.8, 0.0, 0.8 / 2.8, 0.5 / 2.8, -0.5 / 2.8])


def test_many_prerequisites_on_many_levels_equal_the_loop() -> None:
    """The level by level product against the formula taken literally."""
    chosen = torch.Generator().manual_seed(5)
    edges = [
        edge(f"c{j}", f"c{i}", "prerequisite", round(torch.rand((), generator=chosen).item(), 2))
        for i in range(9)
        for j in range(i + 1, 9)
        if torch.rand((), generator=chosen) < 0.4
    ]
    graph = make_graph([*edges, edge("c0", "t", "prerequisite", 1.0)], criteria=9)
    tensors, values = GraphTensors.of(graph), torch.rand(4, 11, generator=chosen)
    values[0, 7] = 0.0
    expected = values.clone()
    for node in graph.gate_order():
        for e, stated in enumerate(graph.spec.edges):
            if graph.index[stated.target] == node:
                source = expected[:, graph.index[stated.source]]
                expected[:, node] *= 1 - tensors.strength[e] + tensors.strength[e] * source
    assert torch.allclose(gate(values, tensors)[0], expected, atol=1e-6)
