"""Advantages of a batch of responses, and masked statistics that may span several processes. Shapes: B episodes, T response tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Reduce = Callable[[Tensor], Tensor]
"""Sum of a tensor over all processes; the identity where there is one."""


def generalized_advantages(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16), bootstrapping 0 after the last step.

    Args:
        rewards, values: [B, T].

    Returns:
        advantages and returns, [B, T] each.
    """
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        following = values[:, t + 1] if t + 1 < rewards.shape[1] else 0.0
        running = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages, advantages + values


def masked_moments(values: Tensor, mask: Tensor, reduce: Reduce) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and population variance over the True positions of all processes; zeros where there are none."""
    picked = torch.where(mask, values, torch.zeros_like(values))
    count, total = reduce(torch.stack([mask.sum().to(values), picked.sum()])).unbind()
    mean = total / count.clamp(min=1)
    square = reduce(torch.where(mask, values - mean, torch.zeros_like(values)).square().sum())
    return count, mean, square / count.clamp(min=1)


def whiten(values: Tensor, mask: Tensor, reduce: Reduce, shift_mean: bool = True) -> Tensor:
    """Scale to variance 1 (and mean 0) over the True positions of all processes, as TRL's `masked_whiten` does on one.

    Fewer than two positions are left as they are.
    """
    count, mean, variance = masked_moments(values, mask, reduce)
    if count < 2:
        return values
    whitened = (values - mean) * torch.rsqrt(variance * count / (count - 1) + 1e-8)
    return whitened if shift_mean else whitened + mean
