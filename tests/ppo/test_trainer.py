"""The trainer's parts recomputed by hand, and what it does with bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from rag_graph.config import LoraSettings
from rag_graph.errors import DataError, ModelError, TrainingError
from rag_graph.generation.language_model import lora_config
from rag_graph.ppo.actor_critic import Tokens
from rag_graph.ppo.advantages import generalized_advantages
from rag_graph.ppo.objective import ClipRanges, ppo_loss
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import PROMPTS, ROWS, arguments, constant, make


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


def test_columns_reach_the_reward_in_order_with_what_was_written(tiny_model: Any, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def reward(
        prompts: list[str], completions: list[str], completion_ids: list[list[int]], number: list[int], **_: Any
    ) -> list[float]:
        seen.update(prompts=prompts, completions=completions, ids=completion_ids, number=number)
        return [float(n) for n in number]

    trainer = make(tiny_model, tmp_path, reward)
    trainer.train()
    assert sorted(seen["number"]) == list(range(8))
    assert [PROMPTS[n] for n in seen["number"]] == seen["prompts"]
    tokenizer = trainer.processing_class
    for text, ids in zip(seen["completions"], seen["ids"], strict=True):
        assert tokenizer.pad_token_id not in ids
        assert ids.count(tokenizer.eos_token_id) <= 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert trainer.last_rollout is not None
    assert trainer.last_rollout.scores.tolist() == [float(n) for n in seen["number"]]


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


@pytest.mark.parametrize("mini_batches", [1, 2, 4])
def test_one_optimizer_step_per_mini_batch(tiny_model: Any, tmp_path: Path, mini_batches: int) -> None:
    trainer = make(
        tiny_model,
        tmp_path,
        constant,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        num_mini_batches=mini_batches,
        num_ppo_epochs=2,
    )
    steps: list[int] = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    trainer.train()
    assert len(steps) == 2 * mini_batches


def test_accumulation_changes_nothing_but_memory(tiny_model: Any, tmp_path: Path) -> None:
    """Episodes of equal length: the mean over micro-batches is the mean over the mini-batch."""

    def run(**changes: Any) -> dict[str, torch.Tensor]:
        trainer = make(
            tiny_model,
            tmp_path,
            lambda completions, **_: [float(len(c)) for c in completions],
            stop_token=None,
            stop_token_id=300,
            num_ppo_epochs=1,
            **changes,
        )
        torch.manual_seed(3)
        np.random.seed(3)
        trainer.train()
        assert trainer.last_rollout is not None
        assert not trainer.last_rollout.ended.any()
        return {name: value.clone() for name, value in trainer.policy_model.state_dict().items()}

    whole = run(per_device_train_batch_size=8, gradient_accumulation_steps=1, learning_rate=1e-4)
    split = run(per_device_train_batch_size=2, gradient_accumulation_steps=4, learning_rate=1e-4)
    assert max((whole[name] - split[name]).abs().max().item() for name in whole) < 1e-5


def test_gradients_are_clipped(tiny_model: Any, tmp_path: Path) -> None:
    logged: list[dict[str, float]] = []
    trainer = make(
        tiny_model,
        tmp_path,
        lambda completions, **_: [100.0 * len(c) for c in completions],
        max_grad_norm=0.01,
        vf_coef=1.0,
    )
    norms: list[float] = []
    trainer.optimizer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: norms.append(
            torch.cat(
                [p.grad.flatten() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            )
            .norm()
            .item()
        )
    )
    trainer.log = logged.append  # type: ignore[method-assign, assignment]
    trainer.train()
    assert max(norms) <= 0.0101
    assert logged[0]["grad_norm"] > 0.01


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


def test_no_work_is_spent_on_what_was_not_observed(tiny_model: Any, tmp_path: Path) -> None:
    def half(number: list[int], **_: Any) -> list[float | None]:
        return [None if n % 2 else 1.0 + n for n in number]

    trainer = make(tiny_model, tmp_path, half, num_ppo_epochs=2)
    seen: list[int] = []
    trainer.policy_model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])) if torch.is_grad_enabled() else None,
        with_kwargs=True,
    )
    trainer.train()
    assert seen == [4, 4]


def test_an_update_without_any_reward_is_skipped_aloud(tiny_model: Any, tmp_path: Path) -> None:
    trainer = make(tiny_model, tmp_path, lambda prompts, **_: [None] * len(prompts))
    before = {name: value.clone() for name, value in trainer.policy_model.state_dict().items()}
    with pytest.warns(RuntimeWarning, match="no episode of this update has a reward"):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in trainer.policy_model.state_dict().items())


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), "reward 'broken' is nan for completion"), (float("inf"), "reward 'broken' is inf for completion")],
)
def test_rewards_that_are_no_numbers_stop_the_run(tiny_model: Any, tmp_path: Path, value: float, message: str) -> None:
    def broken(prompts: list[str], **_: Any) -> list[float]:
        return [value] * len(prompts)

    with pytest.raises(TrainingError, match=message):
        make(tiny_model, tmp_path, broken).train()


def test_bad_input_is_said(tiny_model: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="reward '<lambda>' returned 1 values for 8 completions"):
        make(tiny_model, tmp_path, lambda **_: [1.0]).train()
    with pytest.raises(DataError, match="train_dataset has no rows"):
        make(tiny_model, tmp_path, constant, rows=Dataset.from_dict({"prompt": []}))
    with pytest.raises(DataError, match="train_dataset has no column 'prompt'"):
        make(tiny_model, tmp_path, constant, rows=[{"text": "x"}] * 8)
    with pytest.raises(TrainingError, match="2 reward_weights for 1 reward_funcs"):
        make(tiny_model, tmp_path, constant, reward_weights=[1.0, 2.0])
    model, tokenizer = tiny_model(1)
    import copy

    same = copy.deepcopy(tokenizer)
    same.pad_token = same.eos_token
    with pytest.raises(ModelError, match="pad token must exist and differ from its end token"):
        GraphPPOTrainer(model, constant, arguments(tmp_path), ROWS, processing_class=same)


def test_rewards_are_weighed_and_added(tiny_model: Any, tmp_path: Path) -> None:
    def two(prompts: list[str], **_: Any) -> list[float | None]:
        return [2.0] * 4 + [None] * 4

    trainer = make(tiny_model, tmp_path, [constant, two], reward_weights=[0.5, 10.0])
    trainer.train()
    assert trainer.last_rollout is not None
    assert trainer.last_rollout.scores.tolist() == [20.5] * 4 + [0.5] * 4


def test_chat_prompts_use_the_template(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    seen: list[Any] = []

    def reward(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        seen.append((prompts, completions))
        return [0.0] * len(prompts)

    rows = [{"prompt": [{"role": "user", "content": text}]} for text in PROMPTS]
    trainer = GraphPPOTrainer(model, reward, arguments(tmp_path), rows, processing_class=tokenizer)
    trainer.train()
    prompts, completions = seen[0]
    assert prompts[0][0]["role"] == "user"
    assert completions[0][0]["role"] == "assistant"
    query = tokenizer.decode(trainer.last_rollout.episodes.query_ids[0])  # type: ignore[union-attr]
    assert "<user>" in query
    assert "<assistant>" in query


def test_adapter_trains_alone_and_off_is_the_reference(tiny_model: Any, tmp_path: Path) -> None:
    trainer = make(
        tiny_model,
        tmp_path,
        lambda completions, **_: [float(len(c)) for c in completions],
        learning_rate=1e-2,
        peft_config=lora_config(LoraSettings(r=4, alpha=8)),
    )
    base = {name: value.clone() for name, value in tiny_model(1)[0].state_dict().items()}
    assert trainer.ref_model is None
    trained = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or "score" in name for name in trained)
    assert any("score" in name for name in trained)
    trainer.train()
    policy = trainer.policy_model
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), policy.disable_adapter():
        off = policy(ids).logits
    with torch.no_grad():
        on = policy(ids).logits
        expected = tiny_model(1)[0](ids).logits
    assert torch.allclose(off, expected, atol=1e-6)
    assert (on - off).abs().max() > 1e-4
    frozen = {
        name.replace("base_model.model.", "").replace(".base_layer", ""): value
        for name, value in policy.state_dict().items()
        if "lora_" not in name
    }
    assert all(torch.equal(base[name], frozen[name]) for name in base)


def test_bf16_autocasts(tiny_model: Any, tmp_path: Path) -> None:
    seen: set[torch.dtype] = set()
    trainer = make(tiny_model, tmp_path, constant, bf16=True)
    trainer.policy_model.model.layers[0].mlp.register_forward_hook(
        lambda module, inputs, output: seen.add(output.dtype)
    )
    trainer.train()
    assert torch.bfloat16 in seen
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


def test_the_seed_of_the_arguments_decides_and_nothing_else(tiny_model: Any, tmp_path: Path) -> None:
    def run(seed: int, elsewhere: int) -> torch.Tensor:
        trainer = make(
            tiny_model, tmp_path, lambda completions, **_: [float(len(c)) for c in completions], total_episodes=24, seed=seed
        )  # fmt: skip
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        trainer.train()
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    assert torch.equal(run(4, elsewhere=1), run(4, elsewhere=2))
    assert not torch.equal(run(4, elsewhere=1), run(5, elsewhere=1))
