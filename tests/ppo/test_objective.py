"""PPO's loss by hand, and where its clips stop the gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.ppo.actor_critic import Tokens
from rag_graph.ppo.objective import ClipRanges, ppo_loss
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
