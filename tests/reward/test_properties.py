"""What holds for every graph: random facts and rules, random scores, in double precision, what is fitted held fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec
from rag_graph.reward.formulas import rules
from rag_graph.reward.graph_tensors import GraphTensors, check_damping, longest_path
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings

RULES = ("prerequisite", "supports", "conflicts", "part_of")
FACTS = ("bounds", "indicates", "indicates_low")
DAMPING = 0.3
Spec = dict[str, Any]
few = settings(max_examples=100)


@st.composite
def graphs(draw: st.DrawFn, relations: tuple[str, ...] = (*RULES, *FACTS, "shares_structure")) -> Spec:
    """A graph file. Tasks t0.., the first with a goal; criteria c0.., of all tasks or of some."""
    goals = [draw(st.sampled_from((0.5, 1.0, 2.0))), *draw(st.lists(st.sampled_from((0.0, 0.5, 1.0)), max_size=2))]
    tasks = [f"t{i}" for i in range(len(goals))]
    criteria = [f"c{i}" for i in range(draw(st.integers(1, 5)))]
    names = draw(st.permutations([*tasks, *criteria]))
    edges = draw(
        st.lists(
            st.tuples(st.sampled_from(names), st.sampled_from(names), st.sampled_from(relations), st.floats(0.05, 1.0)),
            max_size=9,
            unique_by=lambda edge: edge[:3],
        )
    )
    # A prerequisite or a bound leads from an earlier name to a later one: no cycles.
    directed = [
        (*sorted(edge[:2], key=names.index), *edge[2:]) if edge[2] in ("prerequisite", "bounds") else edge
        for edge in edges
        if edge[0] != edge[1]
    ]
    once = {edge[:3]: edge for edge in directed}.values()
    return {
        "format": 1,
        "name": "g",
        "tasks": {
            name: {
                "title": f"task {name}",
                "kind": "generation",
                "goal": goal,
                "metrics": {"rouge_l": 1.0},
                "prompt": "x",
            }
            for name, goal in zip(tasks, goals, strict=True)
        },
        "criteria": {
            name: {
                "title": f"criterion {name}",
                "metric": "external",
                "applies_to": draw(st.lists(st.sampled_from(tasks), unique=True, max_size=len(tasks))),
            }
            for name in criteria
        },
        "edges": [dict(zip(("from", "to", "relation", "strength"), edge, strict=True)) for edge in once],
    }


def graph_of(spec: Spec) -> AuxiliaryGraph:
    return AuxiliaryGraph(GraphSpec.model_validate(spec))


def tensors_of(spec: Spec) -> GraphTensors:
    tensors = GraphTensors.of(graph_of(spec))
    strength = torch.tensor([edge["strength"] for edge in spec["edges"]], dtype=torch.float64)
    return replace(tensors, goal=tensors.goal.double(), strength=strength)


def converges(spec: Spec) -> bool:
    try:
        check_damping(tensors_of(spec), DAMPING)
    except ConfigError:
        return False
    return True


def reward(spec: Spec, scores: Tensor, eta: float = 0.0) -> Tensor:
    """[B] of episodes of the first task; scores [B, N] in the order of the file."""
    tensors = tensors_of(spec)
    worth = rules(
        scores, tensors, torch.zeros(len(scores), dtype=torch.long), eta, DAMPING, longest_path(tensors, DAMPING)
    )
    return (worth.values * worth.weights).sum(-1)


def random_scores(spec: Spec, seed: int, rows: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand((rows, len(spec["tasks"]) + len(spec["criteria"])), generator=generator, dtype=torch.float64)
    return torch.where(torch.rand(found.shape, generator=generator) < 0.3, found.round(), found)


seeds = st.integers(0, 2**20)


@few
@given(graphs(), seeds, st.sampled_from((0.0, 0.3)))
def test_more_of_what_only_has_positive_rules_never_costs(spec: Spec, seed: int, eta: float) -> None:
    """s10: eta also takes the signs of facts."""
    assume(converges(spec))
    scores = random_scores(spec, seed)
    names, before = [*spec["tasks"], *spec["criteria"]], reward(spec, scores, eta)
    negative = {edge["from"] for edge in spec["edges"] if edge["relation"] in ("conflicts", "indicates_low")}
    for column, name in enumerate(names):
        if name not in negative:
            better = scores.clone()
            better[:, column] += (1 - better[:, column]) * torch.linspace(0.1, 1, len(scores), dtype=torch.float64)
            assert (reward(spec, better, eta) >= before - 1e-12).all(), name


@few
@given(graphs(RULES), seeds, st.data())
def test_a_rule_that_fades_is_a_rule_removed(spec: Spec, seed: int, data: st.DataObject) -> None:
    assume(spec["edges"] and converges(spec))
    place = data.draw(st.integers(0, len(spec["edges"]) - 1))
    scores = random_scores(spec, seed)

    def at(strength: float) -> Tensor:
        edges = [edge | ({"strength": strength} if row == place else {}) for row, edge in enumerate(spec["edges"])]
        return reward({**spec, "edges": edges}, scores)

    without = reward({**spec, "edges": [edge for row, edge in enumerate(spec["edges"]) if row != place]}, scores)
    assert torch.allclose(at(0.0), without, atol=1e-12)
    for strength in (1e-2, 1e-4, 1e-8):
        assert (at(strength) - without).abs().max() <= 20 * strength + 1e-12


@few
@given(graphs(("supports", "conflicts", *FACTS)))
def test_no_criteria_outweigh_the_goal_of_any_graph(spec: Spec) -> None:
    """Without gates and components the reward is linear: its worst with the goal right beats its best with the goal wrong."""
    assume(converges(spec))
    size = len(spec["tasks"]) + len(spec["criteria"])
    pays = reward(spec, torch.eye(size, dtype=torch.float64))
    right, others = pays[0], pays[1:]
    assert right + others.clamp(max=0).sum() > others.clamp(min=0).sum()


@few
@given(st.integers(1, 40), st.integers(0, 40), st.floats(0.05, 1.0), st.booleans())
@example(7, 0, 1.0, False)
@example(40, 40, 1.0, True)
def test_however_many_criteria_there_are(supporters: int, conflicts: int, strength: float, chained: bool) -> None:
    """s26: goal right, all supporters bad and all conflicts present, against goal wrong, all supporters good and no conflict."""
    chain = [(f"c{i}", f"c{i - 1}" if chained and i else "t0", "supports", strength) for i in range(supporters)]
    against = [(f"d{i}", "t0", "conflicts", strength) for i in range(conflicts)]
    names = ("from", "to", "relation", "strength")
    spec = {
        "format": 1,
        "name": "g",
        "tasks": {"t0": {"kind": "generation", "goal": 1.0, "metrics": {"rouge_l": 1.0}, "prompt": "x"}},
        "criteria": {edge[0]: {"metric": "external"} for edge in (*chain, *against)},
        "edges": [dict(zip(names, edge, strict=True)) for edge in (*chain, *against)],
    }
    rows = [[1.0, *[0.0] * supporters, *[1.0] * conflicts], [0.0, *[1.0] * supporters, *[0.0] * conflicts]]
    right, wrong = reward(spec, torch.tensor(rows, dtype=torch.float64)).tolist()
    credit = (
        sum((DAMPING * strength) ** (i + 1) for i in range(supporters)) if chained else supporters * DAMPING * strength
    )
    assert right - wrong == pytest.approx(1 / (1 + credit + conflicts * strength))


def turned(spec: Spec, data: st.DataObject) -> tuple[Spec, dict[str, str]]:
    """The same graph with all blocks in another order and other names of criteria, and the new name of each node."""
    names = {name: name for name in spec["tasks"]} | {name: f"x{9 - row}" for row, name in enumerate(spec["criteria"])}
    criteria = {names[name]: spec["criteria"][name] for name in data.draw(st.permutations(list(spec["criteria"])))}
    tasks = {name: spec["tasks"][name] for name in data.draw(st.permutations(list(spec["tasks"])))}
    edges = [
        edge | {end: names[edge[end]] for end in ("from", "to")} for edge in data.draw(st.permutations(spec["edges"]))
    ]
    return {**spec, "criteria": criteria, "tasks": tasks, "edges": edges}, names


def learned(spec: Spec, readout: str, scores: list[Scores], **config: Any) -> RewardModel:
    """A model in double precision that has seen these episodes."""
    torch.manual_seed(0)
    graph = graph_of(spec)
    settings_of = RewardConfig(**{"readout": readout, "damping": DAMPING, "discover_gates": False, **config})
    model = RewardModel(graph, settings_of, TextEmbeddings().of_graph(graph)).double()
    model.topology = replace(
        model.topology, goal=model.topology.goal.double(), strength=model.topology.strength.double()
    )
    for batch in scores:
        model.observe(batch)
        model.refit(batch)
        model.settle(batch)
    return model


def batch_of(spec: Spec, seed: int, rows: int = 40) -> Scores:
    """Of all tasks, with gaps."""
    generator = torch.Generator().manual_seed(seed)
    tensors = tensors_of(spec)
    tasks = torch.randint(0, len(spec["tasks"]), (rows,), generator=generator)
    values = random_scores(spec, seed, rows)
    observed = tensors.applies[tasks] & (torch.rand(values.shape, generator=generator) < 0.8)
    return Scores(values, observed, torch.zeros_like(values), tasks)


@pytest.mark.parametrize("readout", sorted(set(READOUTS) - {"boosting"}))
@settings(max_examples=8)
@given(spec=graphs(), seed=seeds, data=st.data())
def test_order_and_names_change_nothing(readout: str, spec: Spec, seed: int, data: st.DataObject) -> None:
    """s21. Boosted trees break ties by the order of their columns."""
    assume(converges(spec))
    other, names = turned(spec, data)
    index = {name: column for column, name in enumerate([*spec["tasks"], *spec["criteria"]])}
    back = {new: old for old, new in names.items()}
    order = torch.tensor([index[back[name]] for name in (*other["tasks"], *other["criteria"])])
    place = order.argsort()
    batches = [batch_of(spec, seed + shift) for shift in range(4)]
    moved = [
        Scores(one.values[:, order], one.observed[:, order], one.retrieved[:, order], place[one.tasks])
        for one in batches
    ]
    first, second = learned(spec, readout, batches[:-1]), learned(other, readout, moved[:-1])
    with torch.no_grad():
        one, two = first(batches[-1], 0.1), second(moved[-1], 0.1)
    assert torch.equal(one.paid, two.paid)
    assert torch.allclose(one.total, two.total, atol=1e-5)
    assert torch.allclose((one.values * one.weights)[:, order], two.values * two.weights, atol=1e-5)


@pytest.mark.parametrize("readout", ["expected_goal", "prior_gnn"])
@settings(max_examples=15)
@given(spec=graphs((*FACTS, "shares_structure")), seed=seeds)
def test_with_facts_only_the_reward_is_the_expected_goal(readout: str, spec: Spec, seed: int) -> None:
    model = learned(spec, readout, [batch_of(spec, seed + shift) for shift in range(3)], scale="score")
    scores = batch_of(spec, seed + 3)
    rows = torch.arange(len(scores.tasks))
    weight, seen = model.topology.goal[scores.tasks], scores.observed[rows, scores.tasks]
    with torch.no_grad():
        expected = torch.where(seen, scores.values[rows, scores.tasks], model.predict_goal(scores))
        paid = model(scores, 0.0)
    assert torch.allclose(paid.total, weight * expected)
    assert torch.equal(paid.paid, (scores.observed & model.topology.applies[scores.tasks]).any(-1))
    assert ((paid.weights > 0).sum(-1) <= 1).all(), "nothing but the goal has a weight"
