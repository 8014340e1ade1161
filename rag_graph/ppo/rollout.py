"""What one PPO update holds: episodes, who said what about them, and the advantages made of that. Knows no trainer.

Shapes: B episodes of an update on this process, T response tokens (longest of the update, over all processes).
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rag_graph.generation.end_tokens import ended
from rag_graph.ppo.advantages import Reduce, generalized_advantages, masked_moments, whiten
from rag_graph.ppo.reward_functions import Scored
from rag_graph.ppo.reward_protocols import Row


class Episodes(NamedTuple):
    """Prompts and what the policy wrote, as texts and as token ids; the stop token is the last id where it was written."""

    rows: list[Row]
    query_ids: list[list[int]]
    completions: list[Any]
    completion_ids: list[list[int]]
    cut: Sequence[bool] = ()
    """Whether each prompt was too long and lost a part; empty: none was."""


class Judgement(NamedTuple):
    """Policy, reference and value model on the responses of an update, [B, T] each; 0 beyond a response."""

    logprobs: Tensor
    ref_logprobs: Tensor
    entropy: Tensor  # of the distribution each token was drawn from, nats
    values: Tensor


@dataclass(frozen=True, slots=True)
class Rollout:
    """One update's episodes. `padding` and `padding_p1` are True where the loss of policy and of value does not look."""

    episodes: Episodes
    scored: Scored
    judged: Judgement
    ended: Tensor  # [B] bool: the stop token was written
    padding: Tensor  # [B, T]
    padding_p1: Tensor  # [B, T]
    kl: Tensor  # [B, T]
    advantages: Tensor  # [B, T]
    returns: Tensor  # [B, T]
    seconds: dict[str, float]

    @property
    def scores(self) -> Tensor:
        """[B] reward without the KL, NaN where not observed."""
        return self.scored.total

    @classmethod
    def of(
        cls,
        episodes: Episodes,
        scored: Scored,
        judged: Judgement,
        ended: Tensor,
        args: Any,
        reduce: Reduce,
        seconds: dict[str, float],
    ) -> Rollout:
        """Rewards, KL to the reference, advantages and returns, with the coefficients of `args` (a `GraphPPOConfig`).

        Whitening is over the episodes of all processes.
        """
        device, num_tokens = judged.logprobs.device, judged.logprobs.shape[1]
        lengths = torch.tensor([len(ids) for ids in episodes.completion_ids], device=device)[:, None]
        positions = torch.arange(num_tokens, device=device)[None]
        unobserved = scored.total.isnan()[:, None]
        padding, padding_p1 = (positions >= lengths) | unobserved, (positions > lengths) | unobserved
        values = judged.values.masked_fill(padding_p1, 0)
        log_ratio = (judged.ref_logprobs - judged.logprobs).masked_fill(padding, 0)
        # joschu.net/blog/kl-approx.html
        kl = -log_ratio if args.kl_estimator == "k1" else (log_ratio.exp() - 1) - log_ratio
        end = scored.end if args.missing_eos_penalty is None else scored.end - args.missing_eos_penalty * ~ended
        scored = Scored(end, scored.dense, scored.each)
        rewards = scored.dense - args.kl_coef * kl
        # The score goes to the position after the response where there is one: stock's convention, kept for parity.
        rewards.scatter_add_(1, lengths.clamp(max=num_tokens - 1), end.nan_to_num()[:, None])
        if args.whiten_rewards:
            rewards = whiten(rewards, ~padding_p1, reduce, shift_mean=False).masked_fill(padding_p1, 0)
        advantages, returns = generalized_advantages(rewards, values, args.gamma, args.lam)
        advantages = whiten(advantages, ~padding, reduce).masked_fill(padding, 0)
        judged = judged._replace(values=values)
        return cls(episodes, scored, judged, ended, padding, padding_p1, kl, advantages, returns, seconds)


def rollout_metrics(
    rollout: Rollout, names: Sequence[str], kl_coef: float, stop_ids: Collection[int], reduce: Reduce
) -> dict[str, float]:
    """What a rollout says before any step is taken, over all processes: TRL's names, and ours beside them.

    NaN where no episode was observed.
    """
    judged, scored, mask = rollout.judged, ~rollout.scores.isnan(), ~rollout.padding
    ids = rollout.episodes.completion_ids
    lengths = torch.tensor([len(line) for line in ids], device=mask.device)
    ends = torch.tensor([sum(token in stop_ids for token in line) for line in ids], device=mask.device)

    def mean(values: Tensor, picked: Tensor) -> float:
        count, average, _ = masked_moments(values.float(), picked, reduce)
        return average.item() if count else math.nan

    everyone = torch.ones_like(scored)
    cut = torch.tensor(rollout.episodes.cut or [False] * len(ids), device=mask.device)
    kl, score = mean(rollout.kl.sum(1), scored), mean(rollout.scores.nan_to_num(), scored)
    count, _, spread = masked_moments(rollout.returns, mask, reduce)
    residual = masked_moments(rollout.returns - judged.values, mask, reduce)[2]
    return {
        "objective/kl": kl,
        "objective/entropy": mean((-judged.logprobs * mask).sum(1), scored),
        "objective/non_score_reward": -kl_coef * kl,
        "objective/rlhf_reward": score - kl_coef * kl,
        "objective/scores": score,
        "objective/observed": mean(scored, everyone),
        "policy/entropy_avg": mean(judged.entropy, mask),
        "val/num_eos_tokens": int(reduce(ends.sum())),
        "val/explained_variance": (1 - residual / spread).item() if count and spread > 0 else math.nan,
        "val/truncated": mean(~rollout.ended, everyone),
        "val/response_tokens": mean(lengths, everyone),
        "prompts/cut": mean(cut, everyone),
        **{
            f"rewards/{name}": mean(values.nan_to_num(), ~values.isnan())
            for name, values in zip(names, rollout.scored.each, strict=True)
        },
        **{f"seconds/{stage}": seconds for stage, seconds in rollout.seconds.items()},
    }


def completion_table(
    episodes: Episodes, scored: Scored, names: Sequence[str], stop_ids: Collection[int], kl: Tensor | None = None
) -> list[dict[str, Any]]:
    """A row per episode: prompt, completion, reward in all and per function, length, whether it ended, and the KL where known."""
    totals, each = scored.total.tolist(), scored.each.T.tolist()
    table = []
    for index, (row, completion, ids) in enumerate(
        zip(episodes.rows, episodes.completions, episodes.completion_ids, strict=True)
    ):
        rewards = dict(zip(names, each[index], strict=True))
        record = {"prompt": row["prompt"], "completion": completion, "reward": totals[index], "rewards": rewards}
        record |= {"tokens": len(ids), "ended": ended(ids, stop_ids)}
        record |= {"prompt_cut": bool(episodes.cut and episodes.cut[index])}
        table.append(record if kl is None else {**record, "kl": kl[index].sum().item()})
    return table


def table_means(table: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Means over a table of completions; NaN where nothing was observed."""

    def mean(values: Iterable[float]) -> float:
        seen = [value for value in values if not math.isnan(value)]
        return sum(seen) / len(seen) if seen else math.nan

    return {
        "objective/scores": mean(row["reward"] for row in table),
        **{f"rewards/{name}": mean(row["rewards"][name] for row in table) for name in names},
        "val/truncated": mean(float(not row["ended"]) for row in table),
        "val/response_tokens": mean(row["tokens"] for row in table),
        "prompts/cut": mean(float(row["prompt_cut"]) for row in table),
    }


class StageClock:
    """Seconds since the last lap, by stage; laps of one stage add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
