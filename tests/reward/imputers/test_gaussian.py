"""Expectation-maximisation against the formulas taken literally, one episode after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.gaussian import PRIOR, CriteriaGaussian
from rag_graph.reward.scores import Scores
from rag_graph.reward.statistics import RunningMeans


def draw(rows: int, share: float) -> Scores:
    """Three criteria of `t` with one cause; c2 falls with it."""
    generator = torch.Generator().manual_seed(0)
    cause = torch.rand((rows, 1), generator=generator)
    values = 0.6 * cause + 0.4 * torch.rand((rows, 5), generator=generator)
    values[:, 4] = 1 - values[:, 4]
    observed = torch.rand((rows, 5), generator=generator) < share
    return Scores(values, observed, torch.zeros(rows, 5), torch.zeros(rows, dtype=torch.long))


def literally(z: np.ndarray, observed: np.ndarray, sign: np.ndarray, sweeps: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance after some sweeps from the standard normal distribution."""
    rows, width = z.shape
    mean, covariance = np.zeros(width), np.eye(width)
    for _ in range(sweeps):
        filled, extra = z.copy(), np.zeros((width, width))
        for row in range(rows):
            o, m = np.flatnonzero(observed[row]), np.flatnonzero(~observed[row])
            gain = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
            filled[row, m] = mean[m] + gain @ (z[row, o] - mean[o])
            extra[np.ix_(m, m)] += covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]
        mean = filled.mean(0)
        scatter = (filled - mean).T @ (filled - mean) + extra
        spread = np.sqrt(np.diag(scatter))
        turned = scatter / np.outer(spread, spread) * np.outer(sign, sign)
        common = turned[~np.eye(width, dtype=bool)].mean().clip(0, 0.95)
        target = np.where(np.eye(width, dtype=bool), 1.0, common * np.outer(sign, sign))
        covariance = (scatter + PRIOR * target) / (rows + PRIOR)
    return mean, covariance


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_sweeps_equal_the_formulas(share: float, make_graph: Callable[..., AuxiliaryGraph]) -> None:
    tensors = GraphTensors.of(make_graph([("c2", "t", "indicates_low", 0.5)]))
    gaussian, base, scores = CriteriaGaussian(tensors), RunningMeans(5), draw(80, share)
    base.observe(scores)
    names = gaussian.columns[0].tolist()
    assert sorted(names) == [2, 3, 4], "the criteria, and no task"
    z, observed = gaussian.standard(scores, base)
    sign = np.array([-1.0 if name == 4 else 1.0 for name in names])
    gaussian.refit(scores, base, sweeps=3)
    mean, covariance = literally(z.double().numpy(), observed.numpy(), sign, 3)
    assert np.allclose(gaussian.location[0].numpy(), mean, atol=1e-4)
    assert np.allclose(gaussian.covariance[0].numpy(), covariance, atol=1e-4)
    assert (gaussian.covariance[1] == torch.eye(3)).all(), "no episode of `u` was seen"


def test_a_gap_is_the_conditional_mean(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    gaussian = CriteriaGaussian(GraphTensors.of(make_graph([], criteria=2)))
    gaussian.location[0] = torch.tensor([0.2, -0.1])
    gaussian.covariance[0] = torch.tensor([[1.0, 0.6], [0.6, 2.0]])
    z, observed = (
        torch.tensor([[1.2, 0.0], [0.0, 1.9], [0.0, 0.0]]),
        torch.tensor([[True, False], [False, True], [False, False]]),
    )
    filled = gaussian.fill(z, observed, torch.zeros(3, dtype=torch.long))
    expected = [[1.2, -0.1 + 0.6 * 1.0], [0.2 + 0.6 / 2.0 * 2.0, 1.9], [0.2, -0.1]]
    assert filled.tolist() == [pytest.approx(row) for row in expected]


def test_scores_and_standard_deviations_are_one_scale(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    gaussian, base, scores = CriteriaGaussian(GraphTensors.of(make_graph([]))), RunningMeans(5), draw(50, 1.0)
    base.observe(scores)
    z, _ = gaussian.standard(scores, base)
    assert torch.allclose(gaussian.raw(z, scores.tasks, base), scores.values[:, 2:], atol=1e-5)
