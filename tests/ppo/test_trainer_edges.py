"""What the trainer does with other models, rewards per token, small data, and numbers that blow up."""

from __future__ import annotations

import asyncio
import copy
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.config import LoraSettings
from rag_graph.errors import DataError, ModelError, TrainingError
from rag_graph.generation.language_model import lora_config
from rag_graph.generation.scratch import make_tokenizer
from rag_graph.generation.tokens import encode_prompts
from rag_graph.ppo.actor_critic import PolicyForward, Tokens
from rag_graph.ppo.episode_order import EpisodeOrder
from rag_graph.ppo.reward_functions import Rewards
from rag_graph.ppo.token_rewards import PotentialShaping
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import BATCH, ROWS, arguments, constant, make


def test_log_probabilities_of_every_family_are_those_of_the_model_alone(
    family: str, family_model: Callable[[str], Any]
) -> None:
    """Models that scale or cap their logits are noticed and left to compute them."""
    torch.manual_seed(0)
    policy: Any = family_model(family).eval()
    with torch.no_grad():  # large enough logits for a cap to bend them
        policy.get_input_embeddings().weight *= 20
    queries, responses = [[5, 6, 7, 8], [9], [3, 4]], [[10, 11], [12, 13, 14, 15], [16]]
    forward = PolicyForward(policy)
    assert forward.fused == (family not in ("gemma2", "cohere"))
    logprobs, entropy, hidden = forward(policy, Tokens.of(queries, responses), 0.8, entropy=True)
    assert logprobs.shape == (3, 4)
    assert hidden.shape[:2] == (3, 5)
    for row, (query, response) in enumerate(zip(queries, responses, strict=True)):
        with torch.no_grad():
            logits = policy(torch.tensor([query + response])).logits[0, len(query) - 1 : -1] / 0.8
        expected = logits.log_softmax(-1)
        picked = expected.gather(-1, torch.tensor(response)[:, None])[:, 0]
        assert torch.allclose(logprobs[row, : len(response)], picked, atol=1e-4)
        assert (logprobs[row, len(response) :] == 0).all()
        assert entropy is not None
        assert torch.allclose(entropy[row, : len(response)], -(expected.exp() * expected).sum(-1), atol=1e-4)


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


def test_token_rewards_of_the_wrong_length_are_refused(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    def short(completion_ids: list[list[int]], **_: Any) -> list[list[float]]:
        return [[1.0] * (len(ids) - 1) for ids in completion_ids]

    with pytest.raises(TrainingError, match="reward 'short' returned 5 token rewards for a completion of 6 tokens"):
        make(tiny_model, tmp_path, short).train()
    with pytest.raises(
        TrainingError, match=r"reward '<lambda>' returned 'good' for completion .*A number, None, or a list"
    ):
        make(tiny_model, tmp_path, lambda prompts, **_: ["good"] * len(prompts)).train()
    with pytest.raises(TrainingError, match="is nan for completion"):
        make(
            tiny_model, tmp_path, lambda completion_ids, **_: [[float("nan")] * len(i) for i in completion_ids]
        ).train()


def test_a_data_set_smaller_than_a_batch_repeats_its_prompts_aloud(
    tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    with pytest.warns(RuntimeWarning, match="train_dataset has 3 rows, fewer than one batch of 8: prompts repeat"):
        trainer = make(tiny_model, tmp_path, constant, rows=ROWS[:3], total_episodes=24)
    trainer.train()
    assert trainer.last_rollout is not None
    assert {row["number"] for row in trainer.last_rollout.episodes.rows} == {0, 1, 2}


def test_every_row_is_answered_equally_often() -> None:
    order = EpisodeOrder(seed=1, num_rows=7, batch_size=3)
    seen = [row for update in range(14) for row in order.rows(update)]
    assert set(Counter(seen).values()) == {6}
    assert [sorted(seen[epoch * 7 : epoch * 7 + 7]) for epoch in range(6)] == [list(range(7))] * 6
    assert seen[:7] != seen[7:14]


def test_two_processes_share_the_rows_and_numbers_of_one() -> None:
    whole = EpisodeOrder(5, 11, 6)
    halves = [EpisodeOrder(5, 11, 3, index, 2) for index in (0, 1)]
    for update in range(4):
        assert whole.rows(update) == [row for half in halves for row in half.rows(update)]
        assert torch.equal(whole.uniforms(update, 4), torch.cat([half.uniforms(update, 4) for half in halves]))
    assert (whole.uniforms(0, 4) != whole.uniforms(1, 4)).all()


@pytest.mark.parametrize("where", ["loss", "weights"])
def test_a_loss_that_is_not_finite_stops_the_run_with_the_last_good_weights(
    tiny_model: Callable[[int], Any], tmp_path: Path, where: str
) -> None:
    trainer = make(
        tiny_model, tmp_path, lambda completion_ids, **_: [float(len(set(ids))) for ids in completion_ids], total_episodes=4 * BATCH,
        save_strategy="steps", save_steps=1,
    )  # fmt: skip
    states: list[dict[str, torch.Tensor]] = []
    optimise = trainer.engine.optimise

    def poisoned(rollout: Any, generator: Any) -> Any:
        states.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
        if len(states) == 3:
            if where == "loss":
                rollout.advantages[0, 0] = float("inf")
            else:  # finite forward passes, a gradient that is not
                trainer.model.policy.register_full_backward_hook(lambda *_: None)
                next(trainer.policy_model.parameters()).register_hook(lambda gradient: gradient * float("nan"))
        return optimise(rollout, generator)

    trainer.engine.optimise = poisoned  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="not finite .* the weights are those of the last good step"):
        trainer.train()
    assert all(torch.equal(p, states[2][name]) for name, p in trainer.model.named_parameters())
    assert (tmp_path / "checkpoint-2").is_dir()
    assert not (tmp_path / "checkpoint-3").exists()


def test_an_answer_that_ends_at_once_and_an_empty_prompt(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    seen: list[Any] = []

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        seen.extend(zip(completions, completion_ids, strict=True))
        return [1.0] * len(completions)

    with torch.no_grad():  # the end token is what the model wants to write
        model.get_output_embeddings().weight[:] = 0
        model.get_output_embeddings().weight[tokenizer.eos_token_id] = 0
    model.get_output_embeddings().weight.requires_grad_(True)
    rows = [{"prompt": ""}] * BATCH
    trainer = GraphPPOTrainer(
        model,
        reward,
        arguments(tmp_path, response_length=40, num_ppo_epochs=1),
        rows,
        processing_class=tokenizer,
    )
    trainer.train()  # uniform over 320 tokens
    trainer.rewards.score([{"prompt": ""}], [""], [[tokenizer.eos_token_id]], 1)
    assert ("", [tokenizer.eos_token_id]) in seen
    assert trainer.last_metrics["objective/scores"] == 1.0


def test_gradient_checkpointing_computes_the_layers_again_and_changes_nothing(
    tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    calls: Counter[bool] = Counter()

    def run(on: bool) -> dict[str, torch.Tensor]:
        trainer = make(
            tiny_model, tmp_path, lambda completion_ids, **_: [float(len(set(ids))) for ids in completion_ids], activation_checkpointing=on,
            num_ppo_epochs=1,
        )  # fmt: skip
        layer = trainer.policy_model.model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *_: calls.update([on]) if torch.is_grad_enabled() else None)
        trainer.train()
        return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}

    without, with_it = run(False), run(True)
    assert calls[False] == 1
    assert calls[True] == 2
    assert all(torch.allclose(without[name], with_it[name], atol=1e-6) for name in without)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no room for a prompt": ({"response_length": 128}, "response_length 128 leaves no position for a prompt: the model has 128"),
    "prompt length": ({"max_prompt_length": 0}, "max_prompt_length is 0: at least 1"),
    "epochs": ({"num_ppo_epochs": 0}, "num_ppo_epochs is 0: at least 1"),
    "schedule": ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 1}, "reduce_lr_on_plateau: PPO steps its schedule without a metric"),
    "stop token": ({"stop_token": None, "stop_token_id": 5000}, "stop_token_id is 5000, and the tokenizer has 320 tokens"),
    "evaluation": ({"eval_strategy": "steps", "eval_steps": 1}, "eval_strategy 'steps' without an eval_dataset"),
    "weights": ({"reward_weights": [float("nan")]}, "every weight must be a finite number"),
    "value model": ({"value_model": "sharde"}, "value_model must be 'shared', or a model with a backbone and a head"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_work_are_refused(tiny_model: Callable[[int], Any], tmp_path: Path, case: str) -> None:
    changes, message = REFUSED[case]
    special = {name: changes[name] for name in ("reward_weights", "value_model") if name in changes}
    model, tokenizer = tiny_model(1)
    settings = {name: value for name, value in changes.items() if name not in special}
    with pytest.raises((TrainingError, ModelError), match=message):
        GraphPPOTrainer(
            model,
            constant,
            arguments(tmp_path, **settings),
            ROWS,
            processing_class=tokenizer,
            **special,
        )


def test_models_and_tokenizers_that_do_not_fit_are_refused(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path)
    args.fp16 = True
    with pytest.raises(TrainingError, match="fp16"):
        GraphPPOTrainer(model, constant, args, ROWS, processing_class=tokenizer)
    with pytest.raises(TrainingError, match="evaluate: there is no eval_dataset"):
        make(tiny_model, tmp_path, constant).evaluate()
    grown = copy.deepcopy(tokenizer)
    grown.add_special_tokens({"pad_token": "<new>"})
    with pytest.raises(
        ModelError,
        match="the tokenizer is larger than the model: its last token is 320, and the model has 320 embeddings. .* call model.resize_token_embeddings",
    ):
        GraphPPOTrainer(model, constant, arguments(tmp_path), ROWS, processing_class=grown)
    with pytest.raises(TrainingError, match="value_model must be 'shared'"):
        GraphPPOTrainer(
            model, constant, arguments(tmp_path), ROWS, processing_class=tokenizer, value_model=tiny_model(2)[0]
        )
    with pytest.raises(TrainingError, match="reward_funcs: Linear is no reward function"):
        GraphPPOTrainer(model, torch.nn.Linear(1, 1), arguments(tmp_path), ROWS, processing_class=tokenizer)
    chat = [{"prompt": [{"role": "user", "content": "red"}]}] * 8
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(DataError, match="row 0: chat messages, and the tokenizer has no chat_template"):
        GraphPPOTrainer(model, constant, arguments(tmp_path), chat, processing_class=bare)
    with pytest.raises(DataError, match="row 0: the prompt is 7"):
        GraphPPOTrainer(model, constant, arguments(tmp_path), [{"prompt": 7}] * 8, processing_class=tokenizer)
    with pytest.raises(DataError, match="eval_dataset is a dict"):
        GraphPPOTrainer(
            model, constant, arguments(tmp_path), ROWS, eval_dataset={"a": ROWS}, processing_class=tokenizer
        )  # type: ignore[arg-type]


def test_rewards_may_ask_for_the_state_and_may_be_coroutines(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    seen: list[int] = []

    def asking(prompts: list[str], trainer_state: Any, **_: Any) -> list[float]:
        seen.append(trainer_state.global_step)
        return [1.0] * len(prompts)

    def plain(
        prompts: list[str], completions: list[str], completion_ids: list[list[int]], number: list[int]
    ) -> list[float]:
        return [2.0] * len(prompts)

    async def later(prompts: list[str], **_: Any) -> list[float]:
        await asyncio.sleep(0)
        return [4.0] * len(prompts)

    trainer = make(tiny_model, tmp_path, [asking, plain, later], total_episodes=16)
    trainer.train()
    assert seen == [0, 1]
    assert trainer.last_metrics["objective/scores"] == 7


def test_shaping_alone_observes_nothing(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    def half(number: list[int], **_: Any) -> list[float | None]:
        return [None if n % 2 else 1.0 for n in number]

    def potential(completion_ids: list[list[int]], **_: Any) -> list[list[float]]:
        return [[float(t) for t in range(len(ids))] for ids in completion_ids]

    trainer = make(tiny_model, tmp_path, [half, PotentialShaping(potential)])
    trainer.train()
    assert trainer.last_metrics["objective/observed"] == 0.5


def test_rewards_of_one_name_are_told_apart() -> None:
    def a(**_: Any) -> list[float]:
        return []

    def a_1(**_: Any) -> list[float]:
        return []

    assert Rewards([a, a_1, a, a]).names == ["a", "a_1", "a_2", "a_3"]
    big: Any = [lambda prompts, **_: [3e38] * len(prompts)] * 2
    with pytest.raises(TrainingError, match="too large for a number"):
        Rewards(big).score([{"prompt": ""}], [""], [[1]], 1)


def test_an_optimizer_of_the_callers_also_moves_the_head_and_the_adapter(
    tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    for peft_config in (None, lora_config(LoraSettings(r=4, alpha=8))):
        model, tokenizer = tiny_model(1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        trainer = GraphPPOTrainer(
            model, lambda completion_ids, **_: [float(len(set(ids))) for ids in completion_ids], arguments(tmp_path), ROWS,
            processing_class=tokenizer, peft_config=peft_config, optimizers=(optimizer, None),
        )  # fmt: skip
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
        trainer.train()
        after = dict(trainer.model.named_parameters())
        moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert "value_model.score.weight" in moved
        assert peft_config is None or any("lora_B" in name for name in moved)


def test_max_steps_and_evaluation_on_start(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path, total_episodes=80, max_steps=2, eval_on_start=True)
    trainer = GraphPPOTrainer(model, constant, args, ROWS, eval_dataset=ROWS[:2], processing_class=tokenizer)
    assert trainer.train().global_step == 2
    assert "eval_objective/scores" in trainer.state.log_history[0]


def test_a_model_by_name_is_trained_in_float32(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    model.bfloat16().save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    trainer = GraphPPOTrainer(str(tmp_path / "half"), constant, arguments(tmp_path), ROWS)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


def test_the_begin_token_is_kept() -> None:
    tokenizer = make_tokenizer(["red blue green"] * 20, 300)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    begin = tokenizer.bos_token_id
    assert begin is not None

    class WithBegin:
        bos_token_id, eos_token_id = begin, tokenizer.eos_token_id

        def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
            plain = tokenizer(texts, add_special_tokens=False)["input_ids"]
            return {"input_ids": [[begin, *ids] if add_special_tokens else ids for ids in plain]}

    wrapped: Any = WithBegin()
    (plain,) = tokenizer(["red blue green"], add_special_tokens=False)["input_ids"]
    assert encode_prompts(wrapped, ["red blue green"], 50) == [[begin, *plain]]
    assert encode_prompts(wrapped, ["red blue green"], 3) == [[begin, *plain[-2:]]]
    assert encode_prompts(wrapped, ["red blue green"], 50, templated=True) == [plain]


def test_the_callers_arguments_are_left_alone(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path, stop_token=None, total_episodes=None, num_train_epochs=1)
    trainer = GraphPPOTrainer(model, constant, args, ROWS, processing_class=tokenizer)
    assert trainer.args is not args
    assert (args.stop_token, args.total_episodes) == (None, None)
    assert trainer.args.total_episodes == 8
    assert trainer.engine.stop_ids == (tokenizer.eos_token_id,)


def test_long_prompts_lose_their_left_end(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path, max_prompt_length=4)
    trainer = GraphPPOTrainer(
        model, constant, args, [{"prompt": "red blue green yellow good"}] * 8, processing_class=tokenizer
    )
    trainer.train()
    assert trainer.last_rollout is not None
    assert tokenizer.decode(trainer.last_rollout.episodes.query_ids[0]).split()[-2:] == ["yellow", "good"]
    assert len(trainer.last_rollout.episodes.query_ids[0]) == 4


def test_micro_batches_of_any_size_give_one_step(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    """Responses of different lengths: the loss is per token of the mini-batch, not a mean of means."""

    def run(micro: int) -> dict[str, torch.Tensor]:
        model, tokenizer = tiny_model(1)
        args = arguments(
            tmp_path, per_device_train_batch_size=micro, gradient_accumulation_steps=8 // micro, num_ppo_epochs=1,
            stop_token=None, stop_token_id=69, response_length=20, learning_rate=1e-4,
        )  # fmt: skip
        trainer = GraphPPOTrainer(
            model,
            lambda completion_ids, **_: [float(len(set(ids))) for ids in completion_ids],
            args,
            ROWS,
            processing_class=tokenizer,
        )
        with torch.no_grad():
            trainer.policy_model.get_output_embeddings().weight[69] *= 40
        with warnings.catch_warnings():
            trainer.train()
        assert trainer.last_rollout is not None
        assert len(set(map(len, trainer.last_rollout.episodes.completion_ids))) > 1
        return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}

    whole = run(8)
    for micro in (4, 2, 1):
        other = run(micro)
        assert max((whole[name] - other[name]).abs().max().item() for name in whole) < 1e-5
