"""PPO's loss by hand, and where its clips stop the gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.ppo.actor_critic import Tokens, TokenScores
from rag_graph.ppo.objective import ClipRanges, ppo_loss
from rag_graph.ppo.reward_functions import Scored
from rag_graph.ppo.rollout import Episodes, Judgement, Rollout
from tests.ppo.tiny_run import constant, make


def test_clipping_stops_the_gradient_outside_the_range(tiny_model: Any, tmp_path: Path) -> None:
    trainer = make(tiny_model, tmp_path, constant, learning_rate=1e-9, vf_coef=0.0)
    trainer.train()
    rollout = trainer.last_rollout
    assert rollout is not None
    engine, ids = trainer.engine, rollout.episodes
    clip = ClipRanges(0.2, 0.2, 0.0)
    tokens = Tokens.of(ids.query_ids, ids.completion_ids)
    count = (~rollout.padding).sum()
    for shift, moves in ((-0.5, False), (0.05, True), (0.5, True)):
        # New over old probability is exp(-shift): with advantage 1 only a ratio above 1.2 is clipped.
        shifted = replace(
            rollout,
            judged=rollout.judged._replace(logprobs=rollout.judged.logprobs + shift),
            advantages=torch.ones_like(rollout.advantages),
        )
        trainer.model.zero_grad()
        loss, sums = ppo_loss(engine.model(tokens, engine.temperature), shifted, torch.arange(8), clip, count, count)
        loss.backward()
        gradient = sum(float(p.grad.abs().sum()) for p in trainer.policy_model.parameters() if p.grad is not None)
        assert (gradient > 1e-8) == moves
        assert sums["policy/clipfrac_avg"].item() == pytest.approx(0.0 if moves else 1.0)


def test_the_loss_of_two_tokens_by_hand() -> None:
    """Ratios 1.5 and .5 with advantages 1 and -2; the third position is padding. Values move from 0 to 1, returns are .1 and 2."""
    judged = Judgement(
        logprobs=torch.zeros(1, 3), ref_logprobs=torch.zeros(1, 3), entropy=torch.zeros(1, 3), values=torch.zeros(1, 3)
    )
    padding = torch.tensor([[False, False, True]])
    rollout = Rollout(
        episodes=Episodes([{}], [[1]], [""], [[1, 2]]),
        scored=Scored(torch.ones(1), torch.zeros(1, 3), torch.ones(1, 1)),
        judged=judged,
        ended=torch.tensor([False]),
        padding=padding,
        padding_p1=padding,
        kl=torch.zeros(1, 3),
        advantages=torch.tensor([[1.0, -2.0, 9.0]]),
        returns=torch.tensor([[0.1, 2.0, 9.0]]),
        seconds={},
    )
    scores = TokenScores(torch.tensor([[1.5, 0.5, 7.0]]).log(), torch.tensor([[1.0, 1.0, 5.0, 5.0]]), None)
    loss, sums = ppo_loss(
        scores, rollout, torch.tensor([0]), ClipRanges(0.2, 0.3, 0.5), torch.tensor(2), torch.tensor(2)
    )
    policy = (-1.2 + 2 * 0.8) / 2  # both ratios are clipped: max(-1.5, -1.2) and max(1.0, 1.6)
    value = 0.5 * (0.9**2 + 1.7**2) / 2  # max(.81, (.3 - .1)^2) and max(1, (.3 - 2)^2)
    assert loss.item() == pytest.approx(policy + 0.5 * value)
    assert {name: number.item() for name, number in sums.items()} == pytest.approx(
        {
            "policy/approxkl_avg": 0.5 * (math.log(1.5) ** 2 + math.log(0.5) ** 2) / 2,
            "policy/clipfrac_avg": 1.0,
            "loss/policy_avg": policy,
            "loss/value_avg": value,
            "val/clipfrac_avg": 0.5,
            "val/ratio": 1.0,
        }
    )
