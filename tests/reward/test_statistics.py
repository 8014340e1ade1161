"""Oracle 7: normalisation ignores a node's scale. Running statistics equal those of numpy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_graph.reward.statistics import RunningMoments


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
