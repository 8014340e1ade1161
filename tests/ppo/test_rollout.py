"""What an update holds, recomputed by hand: KL, rewards, returns, tables and means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.ppo.advantages import generalized_advantages
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import ROWS, arguments, constant, make


def test_kl_rewards_and_returns_by_hand(tiny_model: Any, tmp_path: Path) -> None:
    """The rollout of one update, recomputed with a forward pass of our own for each episode alone."""
    model, tokenizer = tiny_model(1)
    reference, _ = tiny_model(2)
    args = arguments(tmp_path, learning_rate=1e-9, num_ppo_epochs=1)
    trainer = GraphPPOTrainer(
        model, lambda prompts, **_: [0.7] * len(prompts), args, ROWS, processing_class=tokenizer, ref_model=reference
    )
    trainer.train()
    rollout = trainer.last_rollout
    assert rollout is not None
    for row, ids in enumerate(rollout.episodes.completion_ids):
        prompt = tokenizer(rollout.episodes.rows[row]["prompt"], add_special_tokens=False)["input_ids"]
        sequence = torch.tensor([prompt + ids])
        expected = []
        for network in (model, reference):
            with torch.no_grad():
                logits = network(sequence).logits[0, len(prompt) - 1 : -1] / args.temperature
            expected.append(logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0])
        length = len(ids)
        assert torch.allclose(rollout.judged.logprobs[row, :length], expected[0], atol=1e-4)
        kl = expected[0] - expected[1]
        assert torch.allclose(rollout.kl[row, :length], kl, atol=1e-4)
        assert rollout.padding[row].tolist() == [False] * length + [True] * (rollout.padding.shape[1] - length)
        rewards = torch.zeros(rollout.padding.shape[1])
        rewards[:length] = -args.kl_coef * kl
        rewards[min(length, len(rewards) - 1)] += 0.7  # after the response where there is room: stock's convention
        _, returns = generalized_advantages(rewards[None], rollout.judged.values[row][None], args.gamma, args.lam)
        assert torch.allclose(rollout.returns[row, :length], returns[0, :length], atol=1e-4)
    advantages = rollout.advantages[~rollout.padding]
    assert advantages.mean().abs() < 1e-5
    assert advantages.std().item() == pytest.approx(1, abs=1e-3)


def test_what_was_not_observed_takes_no_part(tiny_model: Any, tmp_path: Path) -> None:
    def half(number: list[int], **_: Any) -> list[float | None]:
        return [None if n % 2 else 1.0 + n for n in number]

    trainer = make(tiny_model, tmp_path, half)
    trainer.train()
    rollout = trainer.last_rollout
    assert rollout is not None
    for row, columns in enumerate(rollout.episodes.rows):
        unseen = bool(columns["number"] % 2)
        assert rollout.padding[row].all().item() == unseen
        assert bool((rollout.advantages[row] == 0).all()) == unseen


def test_rewards_at_tokens_are_paid_there(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    def position(completion_ids: list[list[int]], **_: Any) -> list[list[float] | float]:
        return [[float(t + 1) for t in range(len(ids))] for ids in completion_ids]

    trainer = make(tiny_model, tmp_path, [position, constant], kl_coef=0.0, gamma=1.0, lam=1.0, num_ppo_epochs=1)
    trainer.train()
    rollout = trainer.last_rollout
    assert rollout is not None
    for row, ids in enumerate(rollout.episodes.completion_ids):
        size = len(ids)
        assert rollout.scores[row] == sum(range(1, size + 1)) + 1
        # With lambda 1 the return at t is the sum of what is still to come.
        still = [sum(range(t + 1, size + 1)) + 1.0 for t in range(size)]
        assert rollout.returns[row, :size].tolist() == pytest.approx(still)
