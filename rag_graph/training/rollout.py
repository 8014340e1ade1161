"""What one PPO update holds and computes from: rewards, advantages, the rollout, and how a reward is called. Knows no trainer.

Shapes: B episodes of an update, P prompt tokens (left-padded), T response tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from datasets import Dataset
from torch import Tensor

from rag_graph.errors import DataError, TrainingError

Row = dict[str, Any]


class RewardFunction(Protocol):
    """TRL's GRPO signature. `None` means: not observed; such an episode takes no part in the update.

    A reward may also have `update(prompts, completions, completion_ids, **columns)`, called exactly once per update after the
    policy's step (score first, fit after), and `metrics() -> dict[str, float]`, logged with the update.
    """

    __name__: str

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: list[Any]
    ) -> list[float | None]: ...


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


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over True positions; 0 where there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One update's episodes. `padding` and `padding_p1` are True where the loss of policy and of value does not look."""

    rows: list[Row]
    query_responses: Tensor  # [B, P+T]
    responses: Tensor  # [B, T]
    completions: list[Any]
    completion_ids: list[list[int]]
    scores: Tensor  # [B], NaN where not observed
    ended: Tensor  # [B] bool: the end token was written
    logprobs: Tensor  # [B, T]
    ref_logprobs: Tensor  # [B, T]
    values: Tensor  # [B, T]
    padding: Tensor  # [B, T]
    padding_p1: Tensor  # [B, T]
    advantages: Tensor  # [B, T]
    returns: Tensor  # [B, T]
    kl: Tensor  # [B, T]
    seconds: dict[str, float]


def score_completions(
    functions: Sequence[RewardFunction],
    weights: Sequence[float],
    rows: list[Row],
    completions: list[Any],
    completion_ids: list[list[int]],
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the reward functions, [B], NaN where none scored the episode; and the mean of each function.

    Raises:
        TrainingError: a function returned another number of values, or one that is no finite number.
    """
    total = torch.zeros(len(rows))
    observed = torch.zeros(len(rows), dtype=torch.bool)
    means: dict[str, float] = {}
    for function, weight in zip(functions, weights, strict=True):
        name = getattr(function, "__name__", type(function).__name__)
        values = function(completions=completions, completion_ids=completion_ids, **columns_of(rows))
        if len(values) != len(rows):
            raise TrainingError(f"reward '{name}' returned {len(values)} values for {len(rows)} completions.")
        scored = [value is not None for value in values]
        numbers = torch.tensor([0.0 if value is None else float(value) for value in values])
        if not numbers.isfinite().all():
            bad = int((~numbers.isfinite()).nonzero()[0])
            raise TrainingError(
                f"reward '{name}' is {numbers[bad].item()} for completion {completions[bad]!r}. Return None for what was not observed."
            )
        mask = torch.tensor(scored)
        total += weight * numbers
        observed |= mask
        means[name] = numbers[mask].mean().item() if mask.any() else math.nan
    return total.masked_fill(~observed, float("nan")), means


def rollout_metrics(rollout: Rollout, kl_coef: float, eos_token_id: int) -> dict[str, float]:
    """What a rollout says before any step is taken: TRL's names, and ours beside them. NaN where no episode was scored."""
    scored, mask = ~rollout.scores.isnan(), ~rollout.padding
    kl = rollout.kl.sum(1)[scored].mean().item()
    score = rollout.scores[scored].mean().item()
    residual = (rollout.returns - rollout.values)[mask]
    spread = rollout.returns[mask].var(correction=0) if mask.any() else torch.tensor(0.0)
    return {
        "objective/kl": kl,
        "objective/entropy": (-rollout.logprobs * mask).sum(1)[scored].mean().item(),
        "objective/non_score_reward": -kl_coef * kl,
        "objective/rlhf_reward": score - kl_coef * kl,
        "objective/scores": score,
        "objective/observed": scored.float().mean().item(),
        "val/num_eos_tokens": (rollout.responses == eos_token_id).sum().item(),
        "val/explained_variance": (1 - residual.var(correction=0) / spread).item() if spread > 0 else math.nan,
        "val/truncated": (~rollout.ended).float().mean().item(),
        "val/response_tokens": sum(map(len, rollout.completion_ids)) / len(rollout.completion_ids),
        **{f"seconds/{stage}": seconds for stage, seconds in rollout.seconds.items()},
    }


class StageClock:
    """Seconds since the last lap, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


def columns_of(rows: list[Row]) -> dict[str, list[Any]]:
    """Rows -> the keyword arguments of a reward: `prompts`, and every other column under its name."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {"prompts": columns.pop("prompt"), **columns}


def as_dataset(rows: Dataset | Sequence[Row], name: str) -> Dataset:
    """Rows as a data set with a column `prompt`.

    Raises:
        DataError: there is none.
    """
    dataset = rows if isinstance(rows, Dataset) else Dataset.from_list(list(rows))
    if "prompt" not in dataset.column_names:
        raise DataError(f"{name} has no column 'prompt' (it has: {', '.join(dataset.column_names) or 'no rows'}).")
    return dataset
