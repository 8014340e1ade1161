"""Oracle 7: a node's scale does not matter. Running statistics equal those of numpy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_graph.reward.statistics import SIGMA_FLOOR, RunningMoments, RunningScale


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
    first, second = plain.standardise(values), scaled.standardise(values * 100)
    assert torch.allclose(first[:, 0], second[:, 0], atol=0.02)
    assert plain.standardise(torch.tensor([[0.5, 0.7001]]))[0, 1].abs() < 0.1
    assert plain.standardise(torch.tensor([[0.5, 5.0]]))[0, 1].abs() <= 5.0


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


def test_the_scale_of_a_reward_is_its_deviation_within_tasks() -> None:
    """Neither tasks of other levels nor a common rise blow it up; episodes that have no reward do not count, not even as NaN."""
    generator = torch.Generator().manual_seed(0)
    tasks = torch.randint(0, 3, (900,), generator=generator)
    rewards = 5.0 * tasks + 0.2 * torch.randn(900, generator=generator)
    counts = torch.rand(900, generator=generator) < 0.7
    scale = RunningScale()
    within, freedom = 0.0, 0
    for start in range(0, 900, 90):
        rows = slice(start, start + 90)
        risen = rewards + start / 900
        scale.update(torch.where(counts, risen, torch.nan)[rows], tasks[rows], counts[rows], 4)
        groups = [risen[rows][counts[rows] & (tasks[rows] == task)] for task in range(3)]
        within += sum(float((group - group.mean()).square().sum()) for group in groups)
        freedom += sum(len(group) - 1 for group in groups)
    # The prior: one episode of a uniform reward.
    assert scale.variance.item() == pytest.approx((within + 1 / 12) / (freedom + 1), rel=1e-4)
    assert scale.deviation.item() == pytest.approx(0.2, rel=0.05)


def test_a_constant_reward_is_not_blown_up() -> None:
    scale = RunningScale()
    for _ in range(40):
        scale.update(torch.full((64,), 0.5), torch.zeros(64, dtype=torch.long), torch.ones(64, dtype=torch.bool), 1)
    assert scale.deviation.item() == pytest.approx(SIGMA_FLOOR)
