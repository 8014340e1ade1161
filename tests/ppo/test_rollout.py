"""What an update holds, recomputed by hand: KL, rewards, returns, tables and means."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rag_graph.ppo.advantages import generalized_advantages
from rag_graph.ppo.reward_functions import Scored
from rag_graph.ppo.rollout import (
    Episodes,
    Judgement,
    Rollout,
    StageClock,
    completion_table,
    rollout_metrics,
    table_means,
)
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


def small_rollout(**changes: Any) -> Rollout:
    """Two episodes of 2 and 3 tokens, the first ended; the policy is log 2 above the reference at each token, values are 0."""
    args = SimpleNamespace(
        **{"kl_estimator": "k1", "kl_coef": 0.1, "missing_eos_penalty": None, "whiten_rewards": False, "gamma": 1.0, "lam": 1.0, **changes}
    )  # fmt: skip
    blank = torch.zeros(2, 3)
    inside = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    episodes = Episodes([{"prompt": "p"}, {"prompt": "q"}], [[5], [6]], ["a", "b"], [[7, 1], [7, 8, 9]], [False, True])
    scored = Scored(torch.tensor([1.0, 2.0]), blank.clone(), torch.tensor([[1.0, math.nan], [0.0, 2.0]]))
    judged = Judgement(math.log(0.5) * inside, math.log(0.25) * inside, inside, blank.clone())
    return Rollout.of(episodes, scored, judged, torch.tensor([True, False]), args, lambda x: x, {"sampling": 1.5})


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_rewards_and_returns_of_a_small_rollout_by_hand(estimator: str) -> None:
    rollout = small_rollout(kl_estimator=estimator, missing_eos_penalty=0.5)
    kl = math.log(2) if estimator == "k1" else 0.5 - 1 + math.log(2)
    assert rollout.kl.tolist() == [pytest.approx([kl, kl, 0]), pytest.approx([kl, kl, kl])]
    assert rollout.scores.tolist() == [1.0, 1.5], "the penalty falls on the answer that did not end"
    cost = 0.1 * kl
    expected = [[1 - 2 * cost, 1 - cost, 1], [1.5 - 3 * cost, 1.5 - 2 * cost, 1.5 - cost]]
    assert rollout.returns.tolist() == [pytest.approx(row) for row in expected]
    assert rollout.padding.tolist() == [[False, False, True], [False, False, False]]
    assert not rollout.padding_p1.any(), "the value is also learned at the position after an answer"


def test_metrics_of_a_small_rollout_by_hand() -> None:
    rollout = small_rollout()
    found = rollout_metrics(rollout, ["one", "two"], 0.1, {1}, lambda x: x)
    kl = 2.5 * math.log(2)
    assert found == pytest.approx(
        {
            "objective/kl": kl,
            "objective/entropy": 2.5 * math.log(2),
            "objective/non_score_reward": -0.1 * kl,
            "objective/rlhf_reward": 1.5 - 0.1 * kl,
            "objective/scores": 1.5,
            "objective/observed": 1.0,
            "policy/entropy_avg": 1.0,
            "val/num_eos_tokens": 1,
            "val/explained_variance": 0.0,
            "val/truncated": 0.5,
            "val/response_tokens": 2.5,
            "prompts/cut": 0.5,
            "rewards/one": 1.0,
            "rewards/two": 1.0,
            "seconds/sampling": 1.5,
        },
        abs=1e-6,
    )


def test_tables_and_their_means_leave_out_what_was_not_observed() -> None:
    rollout = small_rollout()
    table = completion_table(rollout.episodes, rollout.scored, ["one", "two"], {1}, rollout.kl)
    assert table[0] == {
        "prompt": "p", "completion": "a", "reward": 1.0, "rewards": {"one": 1.0, "two": 0.0}, "tokens": 2, "ended": True, "prompt_cut": False,
        "kl": pytest.approx(2 * math.log(2)),
    }  # fmt: skip
    assert math.isnan(table[1]["rewards"]["one"])
    assert table_means(table, ["one", "two"]) == {
        "objective/scores": 1.5, "rewards/one": 1.0, "rewards/two": 1.0, "val/truncated": 0.5, "val/response_tokens": 2.5, "prompts/cut": 0.5,
    }  # fmt: skip
    assert math.isnan(table_means([table[1]], ["one"])["rewards/one"])


def test_a_lap_lasts_from_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 12.0, 15.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = StageClock()
    clock.lap("sampling")
    clock.lap("reward")
    assert clock.seconds == {"sampling": 2.0, "reward": 3.5}
