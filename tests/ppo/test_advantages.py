"""Advantages against their definition, and masked statistics against those of the picked numbers."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_graph.ppo.advantages import generalized_advantages


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
