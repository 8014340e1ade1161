"""PPO's loss on some episodes of a rollout. Shapes: b episodes of a micro-batch, T response tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rag_graph.ppo.actor_critic import TokenScores
from rag_graph.ppo.rollout import Rollout


@dataclass(frozen=True, slots=True)
class ClipRanges:
    """Coefficients of the loss, named as in TRL's `PPOConfig`."""

    cliprange: float
    cliprange_value: float
    vf_coef: float


def ppo_loss(
    scores: TokenScores, rollout: Rollout, rows: Tensor, clip: ClipRanges, num_tokens: Tensor, num_values: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate and clipped value loss (Schulman et al. 2017, arXiv 1707.06347, eq. 7 and 9), summed over the given rows.

    Args:
        scores: of the current weights, on a block as wide as the longest of these rows.
        rows: int64 [b], positions in the rollout.
        num_tokens, num_values: what the sums are divided by: the positions of the whole mini-batch that policy and value loss look
            at. So the loss of a mini-batch is the sum over its micro-batches and processes, however it was cut.

    Returns:
        the loss, and sums of statistics over these rows' tokens, detached.
    """
    width = scores.logprobs.shape[1]
    mask = ~rollout.padding[rows, :width]
    value_width = min(width + 1, rollout.judged.values.shape[1])
    value_mask = ~rollout.padding_p1[rows, :value_width]

    old, returns = rollout.judged.values[rows, :value_width], rollout.returns[rows, :value_width]
    values = scores.values[:, :value_width]
    clipped = values.clamp(old - clip.cliprange_value, old + clip.cliprange_value)
    losses, clipped_losses = (values - returns).square(), (clipped - returns).square()
    value_loss = 0.5 * (torch.max(losses, clipped_losses) * value_mask).sum()

    advantages = rollout.advantages[rows, :width]
    log_ratio = torch.where(mask, scores.logprobs - rollout.judged.logprobs[rows, :width], 0.0)
    ratio = log_ratio.exp()
    surrogate = -advantages * ratio
    clipped_surrogate = -advantages * ratio.clamp(1 - clip.cliprange, 1 + clip.cliprange)
    policy_loss = (torch.max(surrogate, clipped_surrogate) * mask).sum()

    with torch.no_grad():
        sums = {
            "policy/approxkl_avg": 0.5 * (log_ratio.square() * mask).sum() / num_tokens,
            "policy/clipfrac_avg": ((clipped_surrogate > surrogate) & mask).sum() / num_tokens,
            "loss/policy_avg": policy_loss / num_tokens,
            "loss/value_avg": value_loss / num_values,
            "val/clipfrac_avg": ((clipped_losses > losses) & value_mask).sum() / num_values,
            "val/ratio": (ratio * mask).sum() / num_tokens,
        }
    return policy_loss / num_tokens + clip.vf_coef * value_loss / num_values, sums
