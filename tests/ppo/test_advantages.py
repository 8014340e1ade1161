"""Advantages against their definition, and masked statistics against those of the picked numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_graph.ppo.advantages import generalized_advantages, masked_moments, whiten


@given(st.integers(0, 1000), st.sampled_from([1.0, 0.9]), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_gae_equals_its_definition(seed: int, gamma: float, lam: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(3, 7, generator=generator), torch.randn(3, 7, generator=generator)
    advantages, returns = generalized_advantages(rewards, values, gamma, lam)
    following = torch.cat([values[:, 1:], torch.zeros(3, 1)], 1)
    deltas = rewards + gamma * following - values
    for t in range(7):  # eq. 16: the discounted sum of the temporal differences from t on
        expected = sum((gamma * lam) ** (u - t) * deltas[:, u] for u in range(t, 7))
        assert torch.allclose(advantages[:, t], expected, atol=1e-5)
    assert torch.allclose(returns, advantages + values)


def test_gae_of_three_steps_by_hand() -> None:
    """gamma .5, lambda .8: deltas are 1 + .5*2 - 1 = 1, 0 + .5*4 - 2 = 0 and 3 - 4 = -1."""
    advantages, returns = generalized_advantages(
        torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([[1.0, 2.0, 4.0]]), 0.5, 0.8
    )
    assert advantages.tolist() == [pytest.approx([1 + 0.4 * -0.4, 0.4 * -1, -1])]
    assert returns.tolist() == [pytest.approx([1.84, 1.6, 3.0])]


def test_moments_are_those_of_the_picked_numbers_of_all_processes() -> None:
    values, mask = torch.tensor([[1.0, math.nan], [3.0, 8.0]]), torch.tensor([[True, False], [True, True]])
    count, mean, variance = masked_moments(values, mask, lambda x: x)
    assert (count.item(), mean.item()) == (3, 4)
    assert variance.item() == pytest.approx((9 + 1 + 16) / 3)
    count, mean, variance = masked_moments(values, mask, lambda x: 2 * x)  # a second process with the same numbers
    assert (count.item(), mean.item()) == (6, 4)
    assert variance.item() == pytest.approx((9 + 1 + 16) / 3)
    assert [x.item() for x in masked_moments(values, torch.zeros_like(mask), lambda x: x)] == [0, 0, 0]


def test_whitened_numbers_have_variance_one() -> None:
    values, mask = torch.tensor([1.0, 3.0, 8.0, 100.0]), torch.tensor([True, True, True, False])
    picked = whiten(values, mask, lambda x: x)[:3]
    assert picked.mean().item() == pytest.approx(0, abs=1e-6)
    assert picked.std().item() == pytest.approx(1)
    kept = whiten(values, mask, lambda x: x, shift_mean=False)[:3]
    assert (kept - picked).tolist() == pytest.approx([4, 4, 4])
    one = torch.tensor([True, False, False, False])
    assert torch.equal(whiten(values, one, lambda x: x), values), "one number has no variance"
