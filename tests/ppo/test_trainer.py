"""The loop as a whole: what reaches a reward, which weights move, seeds, chat prompts, and bad input."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from rag_graph.config import LoraSettings
from rag_graph.errors import DataError, ModelError, TrainingError
from rag_graph.generation.language_model import lora_config
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import BATCH, PROMPTS, ROWS, arguments, constant, make


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


def test_an_update_without_any_reward_is_skipped_aloud(tiny_model: Any, tmp_path: Path) -> None:
    trainer = make(tiny_model, tmp_path, lambda prompts, **_: [None] * len(prompts))
    before = {name: value.clone() for name, value in trainer.policy_model.state_dict().items()}
    with pytest.warns(RuntimeWarning, match="no episode of this update has a reward"):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in trainer.policy_model.state_dict().items())


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

    same = copy.deepcopy(tokenizer)
    same.pad_token = same.eos_token
    with pytest.raises(ModelError, match="pad token must exist and differ from its end token"):
        GraphPPOTrainer(model, constant, arguments(tmp_path), ROWS, processing_class=same)


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


def test_max_steps_and_evaluation_on_start(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path, total_episodes=80, max_steps=2, eval_on_start=True)
    trainer = GraphPPOTrainer(model, constant, args, ROWS, eval_dataset=ROWS[:2], processing_class=tokenizer)
    assert trainer.train().global_step == 2
    assert "eval_objective/scores" in trainer.state.log_history[0]


def test_long_prompts_lose_their_middle_and_are_counted(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path, max_prompt_length=4)
    rows = [{"prompt": "red blue green yellow good"}, {"prompt": "red blue"}] * 4
    trainer = GraphPPOTrainer(model, constant, args, rows, eval_dataset=rows[:2], processing_class=tokenizer)
    with pytest.warns(RuntimeWarning, match="prompts are longer than 4 tokens: the middle of each is left out") as said:
        trainer.train()
    assert len(said) == 1, "once, not in every update"
    assert trainer.last_rollout is not None
    (whole,) = tokenizer([rows[0]["prompt"]], add_special_tokens=False)["input_ids"]
    (short,) = tokenizer([rows[1]["prompt"]], add_special_tokens=False)["input_ids"]
    shown = {tuple(ids) for ids in trainer.last_rollout.episodes.query_ids}
    assert shown == {(*whole[:2], *whole[-2:]), tuple(short)}
    assert trainer.last_metrics["prompts/cut"] == 0.5
    assert trainer.evaluate()["eval_prompts/cut"] == 0.5


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
