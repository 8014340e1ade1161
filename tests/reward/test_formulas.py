"""The rules against hand calculation, gates (oracle 6), a strength of 0 (oracle 3), and what the baselines take from the relations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
    flat_weights,
    gate,
    opened,
    own_goal,
    rules,
)
from rag_graph.reward.graph_tensors import GraphTensors, katz_credit, longest_path

scores = st.lists(st.floats(0, 1, width=32), min_size=5, max_size=5)


def reward(graph: AuxiliaryGraph, tasks: list[int], rows: list[list[float]], eta: float = 0.0) -> list[float]:
    """By the rules, with a damping of .5."""
    worth = rules(torch.tensor(rows), GraphTensors.of(graph), torch.tensor(tasks), eta, 0.5)
    assert (worth.weights >= 0).all()
    assert (worth.values.abs() <= 1 + 1e-6).all()
    total: list[float] = (worth.values * worth.weights).sum(-1).tolist()
    return total


def test_the_rules_by_hand(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    graph = make_graph(
        [("c0", "t", "prerequisite", 0.8), ("c1", "t", "supports", 0.6), ("c2", "t", "conflicts", 0.5), ("c3", "t", "part_of", 1.0)],
        criteria=4,
    )  # fmt: skip
    row = [0.9, 0.3, 0.5, 0.7, 0.4, 0.1]
    gated, mixed = 1 - 0.8 * (1 - 0.5), (0.9 + 0.1) / 2
    credit, charge = 0.5 * 0.6, 0.5
    bound = 1 / (1 + credit + charge)
    of_t = gated * (mixed + credit * 0.7 * bound) - charge * 0.4 * bound
    assert reward(graph, [0, 1], [row, row]) == pytest.approx([of_t, 0.5 * 0.3])


def test_a_reward_is_in_units_of_its_goal_weight(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """The same file about `t` (weight 1) and about `u` (weight .5): half of the reward, whatever the rules."""
    relations = ("prerequisite", "supports", "conflicts")
    of_t, of_u = (make_graph([(f"c{i}", task, relation, 0.7) for i, relation in enumerate(relations)]) for task in "tu")
    row = [0.9, 0.9, 0.5, 0.7, 0.4]
    (one,), (half,) = reward(of_t, [0], [row]), reward(of_u, [1], [row])
    assert half == pytest.approx(one / 2)
    assert one == pytest.approx(0.65 * (0.9 + 0.35 * 0.7 / 2.05) - 0.7 * 0.4 / 2.05)


def test_support_of_support_earns_less_and_a_conflict_with_a_support_costs_what_it_earns(
    make_graph: Callable[..., AuxiliaryGraph],
) -> None:
    graph = make_graph([("c0", "t", "supports", 0.6), ("c1", "c0", "supports", 0.5), ("c2", "c0", "conflicts", 1.0)])
    first, second = 0.5 * 0.6, 0.25 * 0.6 * 0.5
    bound = 1 / (1 + first + second + first)
    expected = 1.0 + bound * (first * 0.2 + second * 0.4 - first * 0.6)
    assert reward(graph, [0], [[1.0, 0, 0.2, 0.4, 0.6]]) == pytest.approx([expected])


def test_what_only_bears_on_what_pays_nothing_pays_nothing(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """s11: no rule leads from these criteria to the goal of the episode, so the reward is the goal, whatever they score."""
    rows = [[0.5, 0.8, *(float(bit) for bit in f"{number:03b}")] for number in range(8)]
    for edges in (
        [],
        [("c0", "c1", "supports", 1.0)],
        [("c0", "c1", "conflicts", 1.0)],
        [("c0", "c1", "prerequisite", 1.0)],
    ):
        assert reward(make_graph(edges), [0] * 8, rows) == pytest.approx([0.5] * 8), edges
    of_u = make_graph([("c0", "u", "conflicts", 1.0), ("c1", "u", "supports", 1.0)])
    assert reward(of_u, [0] * 8, rows) == pytest.approx([0.5] * 8), "rules about another task"


@pytest.mark.parametrize("fact", ["bounds", "indicates", "indicates_low", "shares_structure"])
def test_facts_change_nothing_of_what_is_wanted(fact: str, make_graph: Callable[..., AuxiliaryGraph]) -> None:
    rules_alone = [("c1", "t", "supports", 0.6), ("c2", "t", "prerequisite", 0.7)]
    rows = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)).tolist()
    with_fact = make_graph([*rules_alone, ("c0", "t", fact, 0.9), ("c1", "t", fact, 0.9)])
    assert reward(with_fact, [0, 1, 0, 1], rows) == reward(make_graph(rules_alone), [0, 1, 0, 1], rows)


def test_a_closed_gate_waives_no_charge(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """s10b: c1 supports the goal a little and conflicts with what supports it more. To fail the prerequisite must never pay."""
    edges = [
        ("c0", "t", "prerequisite", 1.0),
        ("c1", "t", "supports", 0.2),
        ("c1", "c2", "conflicts", 1.0),
        ("c2", "t", "supports", 1.0),
    ]
    for goal in (0.0, 1.0):
        failed, passed = reward(make_graph(edges), [0, 0], [[goal, 0, form, 1.0, 0.0] for form in (0.0, 1.0)])
        assert failed < passed
        assert failed == pytest.approx(-0.5 / (1 + 0.1 + 0.5 + 0.5)), "the charge for c1 stays, its credit goes"


def test_a_gate_of_what_harms_waives_no_charge_either(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    graph = make_graph([("c0", "c1", "prerequisite", 1.0), ("c1", "t", "conflicts", 1.0)])
    rows = [[1.0, 0, form, 1.0, 0.0] for form in (0.0, 1.0)]
    assert reward(graph, [0, 0], rows) == pytest.approx([1 - 1 / 2] * 2)


@pytest.mark.parametrize("relation", ["supports", "conflicts", "prerequisite", "part_of"])
def test_strength_goes_to_zero_as_an_edge_removed(relation: str, make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """s01: without a jump on the way."""
    others = [("c1", "t", "supports", 0.4), ("c2", "t", "prerequisite", 0.7)]
    rows = torch.rand(16, 5, generator=torch.Generator().manual_seed(1)).tolist()
    tasks = [0, 1] * 8
    without = np.array(reward(make_graph(others), tasks, rows))
    for strength in (1e-1, 1e-3, 1e-5, 0.0):
        found = np.array(reward(make_graph([*others, ("c0", "t", relation, strength)]), tasks, rows))
        assert np.abs(found - without).max() <= strength + 1e-6


def test_learning_a_strength_down_to_zero_leaves_nothing_behind(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """s01: a support or a conflict that was learned down to 0 was paid as if the file had no relation."""
    for relation in ("supports", "conflicts"):
        tensors = GraphTensors.of(make_graph([("c0", "t", relation, 0.8)]))
        gone = replace(tensors, strength=torch.zeros(1))
        worth = rules(torch.tensor([[0.4, 0, 1.0, 0, 0]]), gone, torch.tensor([0]), 0.0, 0.5)
        assert worth.weights.tolist() == [[1.0, 0, 0, 0, 0]]
        assert (worth.values * worth.weights).sum().item() == pytest.approx(0.4)


@pytest.mark.parametrize("relation", ["supports", "conflicts"])
@pytest.mark.parametrize("number", [1, 3, 7, 20, 40])
def test_criteria_never_outweigh_the_goal(
    relation: str, number: int, make_graph: Callable[..., AuxiliaryGraph]
) -> None:
    """s26: the goal right and everything else wrong pays 1 / (1 + T) more than the other way round."""
    graph = make_graph([(f"c{i}", "t", relation, 1.0) for i in range(number)], criteria=number)
    good = 1.0 if relation == "supports" else 0.0
    right, wrong = reward(graph, [0, 0], [[1.0, 0, *[1 - good] * number], [0.0, 0, *[good] * number]])
    total = number * (0.5 if relation == "supports" else 1.0)
    assert right - wrong == pytest.approx(1 / (1 + total), abs=1e-6)


def test_mutual_support_earns_what_the_dense_solve_says(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """s20: credit was cut after 100 steps, 15.1 for 30.7 where the damping is .99."""
    tensors = GraphTensors.of(
        make_graph([("t", "u", "supports", 1.0), ("u", "t", "supports", 1.0), ("c0", "u", "supports", 0.3)])
    )
    supports = np.zeros((5, 5))
    supports[0, 1], supports[1, 0], supports[2, 1] = 1.0, 1.0, 0.3
    for damping in (0.5, 0.9, 0.99):
        exact = np.linalg.solve(np.eye(5) - damping * supports, tensors.goal.numpy())
        steps = longest_path(tensors, damping)
        found = katz_credit(tensors.goal[None], tensors, damping, steps=steps)[0]
        assert found.tolist() == pytest.approx(exact.tolist(), rel=1e-4)


def test_eta_adds_the_mean_of_the_other_nodes_with_their_signs(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    graph = make_graph([("c0", "t", "indicates_low", 0.4), ("c1", "t", "conflicts", 0.8)])
    flat = flat_weights(GraphTensors.of(graph), torch.tensor([0, 1]))
    assert flat[0].tolist() == pytest.approx([0.0, 0.0, -1 / 3, -1 / 3, 1 / 3])
    assert flat[1].tolist() == pytest.approx([0.0, 0.0, 1 / 3, 1 / 3, 1 / 3]), "the file says nothing about `u`"
    (without,), (beside,) = (reward(graph, [0], [[0.9, 0.0, 0.3, 0.6, 0.6]], eta) for eta in (0.0, 0.3))
    assert beside - without == pytest.approx(0.3 * (-0.3 - 0.6 + 0.6) / 3, abs=1e-6)


def test_the_goal_alone(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c0", "t", "supports", 0.6), ("c1", "t", "prerequisite", 0.6)]))
    worth = own_goal(torch.full((2, 5), 0.8), tensors, torch.tensor([0, 1]))
    assert (worth.values * worth.weights).sum(-1).tolist() == pytest.approx([0.8, 0.4])


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


def test_a_task_earns_and_pays_for_other_tasks(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    row = [[0.0, 0.8, 0, 0, 0]]
    helped = 0.5 + 0.3  # the answer's own score, which outweighs nothing
    assert reward(make_graph([("u", "t", "supports", 0.6)]), [1], row) == pytest.approx([0.8 * helped])
    hurt = 0.5 - 0.8 * 0.5 / (0.5 + 0.8)
    assert reward(make_graph([("u", "t", "conflicts", 0.8)]), [1], row) == pytest.approx([0.8 * hurt])


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


def test_gears_utility_is_signed_and_its_sizes_sum_to_one(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    edges = [("c0", "t", "prerequisite", 0.8), ("c1", "t", "supports", 0.5), ("c2", "t", "conflicts", 0.5)]
    worth = expected_utility(torch.ones(1, 5), GraphTensors.of(make_graph(edges)), torch.tensor([0]))
    assert worth.weights[0].tolist() == pytest.approx([1 / 2.8, 0.0, 0.8 / 2.8, 0.5 / 2.8, 0.5 / 2.8])
    assert worth.values[0].tolist() == pytest.approx([1.0, 0.0, 1.0, 1.0, -1.0])


def test_gear_takes_bounds_as_gates_and_other_facts_as_utilities(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    edges = [("c0", "t", "bounds", 0.8), ("c1", "t", "indicates", 0.5), ("c2", "t", "indicates_low", 0.5)]
    worth = expected_utility(
        torch.tensor([[0.9, 0, 0.5, 0.7, 0.4]]), GraphTensors.of(make_graph(edges)), torch.tensor([0])
    )
    by_hand = (
        0.9 * 0.6 + 0.8 * 0.5 + 0.5 * 0.7 * 0.6 - 0.5 * 0.4
    ) / 2.8  # what indicates the goal lies behind its bound
    assert (worth.values * worth.weights).sum().item() == pytest.approx(by_hand)


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
