"""The average by evidence against the dense normal distribution of the goals, the directions of the facts by hand, and what comes of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.evidence import (
    DIRECTIONS,
    SOFTNESS,
    EvidenceImputer,
    Settings,
    average_by_evidence,
    draw_settings,
)
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores

Edge = tuple[Any, ...]


def test_the_average_is_that_of_the_dense_marginal_likelihoods() -> None:
    """Two tasks, 12 and 3 goals, 60 settings: y ~ N(X m, X V X^T + noise I), which is n x n, without any Gram matrix."""
    rng, width, every = np.random.default_rng(0), 2, draw_settings()
    chosen = torch.arange(0, len(every.form), 8)
    settings = Settings(*(part[chosen] for part in every))
    size = settings.mean.shape[1] + 2 * width
    possible = torch.from_numpy(rng.random((2, len(chosen))) < 0.8)
    allowed = torch.from_numpy(rng.random((2, len(chosen))) < 0.8) & possible
    data = []
    for rows in (12, 3):
        x = np.hstack([np.ones((rows, 1)), rng.normal(size=(rows, size - 1))])
        data.append((x, rng.normal(size=rows)))
    gram, cross, square = (
        torch.from_numpy(np.stack(parts))
        for parts in ([x.T @ x for x, _ in data], [x.T @ y for x, y in data], [y @ y for _, y in data])
    )
    mean, covariance, noise = average_by_evidence(
        gram, cross, square, torch.tensor([12.0, 3.0], dtype=torch.float64), settings, allowed.double().log(), possible
    )
    for task, (x, y) in enumerate(data):
        logs, means, spreads = [], [], []
        for h in range(len(chosen)):
            free = [float(settings.ridge[h])] * width + [float(settings.curve[h])] * width
            prior = np.diag(np.concatenate([settings.variance[h].numpy(), free]))
            start = np.concatenate([settings.mean[h].numpy(), np.zeros(2 * width)])
            dense = x @ prior @ x.T + float(settings.noise[h]) * np.eye(len(y))
            gap = np.linalg.solve(dense, y - x @ start)
            logs.append(-0.5 * (np.linalg.slogdet(dense)[1] + (y - x @ start) @ gap) + float(settings.prior[h]))
            means.append(start + prior @ x.T @ gap)
            spreads.append(prior - prior @ x.T @ np.linalg.solve(dense, x @ prior))
        weight = np.where(allowed[task].numpy(), np.exp(np.array(logs) - max(logs)), 0.0)
        weight /= weight.sum()
        expected = weight @ np.array(means)
        within = sum(w * s for w, s in zip(weight, spreads, strict=True))
        between = sum(w * np.outer(m - expected, m - expected) for w, m in zip(weight, means, strict=True))
        assert np.allclose(mean[task].numpy(), expected, atol=1e-6)
        assert np.allclose(covariance[task].numpy(), within + between, atol=1e-6)
        assert noise[task].item() == pytest.approx(weight @ settings.noise.numpy(), rel=1e-6)


def test_the_directions_of_the_facts_by_hand(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """c0 bounds the goal (.4), c1 indicates it (.8), c2 indicates a low one (.2), c3 indicates c1 (.5): strengths count relative to .8."""
    edges = [
        ("c0", "t", "bounds", 0.4),
        ("c1", "t", "indicates", 0.8),
        ("c2", "t", "indicates_low", 0.2),
        ("c3", "c1", "indicates", 0.5),
    ]
    tensors = GraphTensors.of(make_graph(edges, criteria=4))
    imputer = EvidenceImputer(tensors)
    order = imputer.criteria.columns[0].tolist()
    raw = torch.tensor([[{2: 0.3, 3: 0.9, 4: 0.6, 5: 0.5}[node] for node in order]])
    filled, seen = 2 * raw - 1, torch.where(torch.tensor(order) == 2, 0.0, 2 * raw - 1)
    found = imputer.facts.directions(filled, seen, raw, tensors, torch.tensor([0]))[0]
    weight = {2: 0.5, 3: 1.0, 4: -0.25, 5: 0.5 * 0.8 * 0.5 / 0.8}
    z = {2: -0.4, 3: 0.8, 4: 0.2, 5: 0.0}
    good = {2: 0.3, 3: 0.9, 4: 0.4, 5: 0.5}
    share = sum(map(abs, weight.values()))
    soft = -math.log(sum(abs(weight[n]) / share * math.exp(-SOFTNESS * good[n]) for n in weight))
    expected = {
        "linear": sum(weight[n] * z[n] for n in weight),
        "seen": sum(weight[n] * z[n] for n in weight if n != 2),
        "soft": soft,
        "least": 1 - 1.0 * (1 - 0.3),
        "product": 1 - 1.0 * (1 - 0.3),
    }
    assert found.tolist() == pytest.approx([expected[name] for name in DIRECTIONS], abs=1e-5)


@pytest.mark.parametrize("fact", ["bounds", "indicates", "indicates_low"])
def test_directions_go_to_those_without_a_fact_as_its_strength_goes_to_zero(
    fact: str, make_graph: Callable[..., AuxiliaryGraph]
) -> None:
    others = [("c0", "t", "bounds", 0.8), ("c1", "t", "indicates", 0.6)]
    raw = torch.rand((20, 3), generator=torch.Generator().manual_seed(0))

    def directions(edges: list[Edge]) -> Tensor:
        tensors = GraphTensors.of(make_graph(edges))
        imputer = EvidenceImputer(tensors)
        shuffled = raw[:, imputer.criteria.columns[0] - 2]
        return imputer.facts.directions(
            2 * shuffled - 1, 2 * shuffled - 1, shuffled, tensors, torch.zeros(20, dtype=torch.long)
        )

    without = directions(others)
    for strength in (1e-1, 1e-3, 1e-5, 0.0):
        found = directions([*others, ("c2", "t", fact, strength)])
        # The softest of the directions is the steepest: a share of the strength, times exp of the softness at most.
        assert (found - without).abs().max() <= 80 * strength + 1e-5


def test_without_a_goal_the_file_speaks(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[Edge]
) -> None:
    scores, _ = planted(64, 0, share=0.0)
    model = fitted(right, "expected_goal", scores=scores)
    new, true = planted(2000, 99)
    with torch.no_grad():
        expected = model.predict_goal(new)
    assert torch.corrcoef(torch.stack([expected, true]))[0, 1] > 0.7
    silent = fitted([], "expected_goal", scores=scores)
    with torch.no_grad():
        assert silent.predict_goal(new).std() < 0.01, "a file without facts says nothing"


@pytest.mark.parametrize(("rows", "most"), [(8, 0.7), (64, 0.52), (512, 0.44)])
def test_the_right_file_helps_with_few_goals_and_a_wrong_one_costs_little_with_many(
    rows: int,
    most: float,
    fitted: Callable[..., RewardModel],
    error: Callable[[RewardModel], float],
    right: list[Edge],
    shuffled: list[Edge],
) -> None:
    told, ridge = error(fitted(right, "expected_goal", rows=rows)), error(fitted(right, "ridge", rows=rows))
    assert told < most
    assert told < ridge + 0.01
    if rows == 512:
        assert error(fitted(shuffled, "expected_goal", rows=rows)) < ridge + 0.01


def test_intervals_cover_what_they_say(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[Edge]
) -> None:
    covered = []
    for rows in (32, 128, 512):
        model = fitted(right, "expected_goal", rows=rows)
        new, _ = planted(2000, 7)
        seen = new.observed[:, 0]
        with torch.no_grad():
            mean, low, high = model.goal_interval(new, 0.8)
        assert (low <= mean).all()
        assert (mean <= high).all()
        covered.append(((low <= new.values[:, 0]) & (new.values[:, 0] <= high))[seen].float().mean().item())
    assert np.mean(covered) == pytest.approx(0.8, abs=0.07)


def test_a_hidden_criterion_is_expected_from_the_others(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[Edge]
) -> None:
    scores, _ = planted(400, 0)
    values = scores.values.clone()
    values[:, 5] = 1 - values[:, 6]
    twins = scores._replace(values=values, observed=torch.arange(8).ne(1).expand(400, 8))
    model = fitted(right, "expected_goal", scores=twins)
    model.refit(twins, 10)
    with torch.no_grad():
        expected, _ = model.imputer.predict(twins.without(torch.arange(8) == 5), model.graph)
    assert torch.corrcoef(torch.stack([expected[:, 5], values[:, 5]]))[0, 1] > 0.99
    assert (expected[:, 5] - values[:, 5]).abs().mean() < 0.1


def test_the_number_of_settings_and_of_rows_changes_no_dtype(
    fitted: Callable[..., RewardModel], right: list[Edge]
) -> None:
    imputer = fitted(right, "expected_goal").imputer
    assert {value.dtype for name, value in imputer.state_dict().items()} == {torch.float32}


def test_what_a_lone_fact_expects_fades_with_its_strength(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """Strengths are relative to the strongest fact; without a floor, one that is learned down to 0 would jump there."""
    raw = torch.tensor([[0.2, 0.5, 0.9], [0.7, 0.1, 0.4]])
    found = {}
    for strength in (0.5, 1e-4, 0.0):
        tensors = GraphTensors.of(make_graph([("c0", "t", "bounds", strength)]))
        imputer = EvidenceImputer(tensors)
        found[strength] = imputer.facts.directions(raw - 0.5, raw - 0.5, raw, tensors, torch.zeros(2, dtype=torch.long))
    assert torch.allclose(found[1e-4], found[0.0], atol=5e-3)
    assert (found[0.5] - found[0.0]).abs().amax(0).min() > 0.1, "all five directions hang on it"


def test_a_weighted_regression_forgets_how_rows_were_chosen(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    """A goal that rises by steps, which no straight line is; goals are asked for mostly where the criterion is high. By inverse probability the fit is that of all
    goals; without, it is another one."""
    graph = make_graph([("c0", "t", "indicates")])
    tensors = GraphTensors.of(graph)
    generator = torch.Generator().manual_seed(0)
    values = torch.rand((4000, len(graph.nodes)), generator=generator)
    task, criterion = graph.index["t"], graph.index["c0"]
    values[:, task] = torch.where(values[:, criterion] > 0.8, 0.9, 0.1) + 0.05 * torch.rand(4000, generator=generator)
    everything = torch.zeros(values.shape, dtype=torch.bool)
    everything[:, [task, criterion]] = True
    probability = 0.03 + 0.9 * values[:, criterion] ** 4
    some = everything.clone()
    some[:, task] = torch.rand(4000, generator=generator) < probability
    weights = torch.ones_like(values)
    weights[:, task] = probability.mean() / probability

    def expected(observed: Tensor, weights: Tensor | None = None) -> Tensor:
        scores = Scores(values, observed, torch.zeros_like(values), torch.full((4000,), task))
        imputer = EvidenceImputer(tensors)
        imputer.observe(scores, weights)
        imputer.refit(scores, tensors, 3, None, weights)
        asked = scores.without_goal(tensors.reads_references)
        return imputer.predict(asked, tensors)[0][:, task]

    all_goals, weighted, plain = expected(everything), expected(some, weights), expected(some)
    assert (weighted - all_goals).abs().mean() < 0.35 * (plain - all_goals).abs().mean()
    assert abs(float((weighted - all_goals).mean())) < 0.02
