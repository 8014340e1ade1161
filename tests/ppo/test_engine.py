"""Optimisation: one step per mini-batch however it is cut, clipping, precision, and losses that are not finite."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForSequenceClassification

from rag_graph.config import LoraSettings
from rag_graph.errors import TrainingError
from rag_graph.generation.language_model import lora_config
from rag_graph.generation.trunk import decoder_layers
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import BATCH, ROWS, arguments, constant, make


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


def test_bf16_autocasts(tiny_model: Any, tmp_path: Path) -> None:
    seen: set[torch.dtype] = set()
    trainer = make(tiny_model, tmp_path, constant, bf16=True)
    trainer.policy_model.model.layers[0].mlp.register_forward_hook(
        lambda module, inputs, output: seen.add(output.dtype)
    )
    trainer.train()
    assert torch.bfloat16 in seen
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


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


@pytest.mark.parametrize(
    "kind",
    [{}, {"lora": True}, {"separate": True}, {"length_bucketing": False}, {"temperature": 1.3, "stop_token_id": 300}],
    ids=["all weights", "lora", "separate value model", "stock sampling", "answers of full length"],
)
def test_a_frozen_trunk_is_computed_once_and_changes_nothing(
    tiny_model: Any, tmp_path: Path, kind: dict[str, Any]
) -> None:
    def run(keep: bool) -> tuple[GraphPPOTrainer, int]:
        changes: dict[str, Any] = {**kind, "train_layers": 1, "optim": "sgd", "learning_rate": 0.3}
        if changes.get("stop_token_id") is not None:
            changes["stop_token"] = None
        if changes.pop("lora", False):
            changes["peft_config"] = lora_config(LoraSettings(r=4, alpha=8))
        if changes.pop("separate", False):
            base = tiny_model(1)[0]
            base.config.num_labels = 1
            changes["value_model"] = value = LlamaForSequenceClassification(base.config)
            value.model.load_state_dict(base.model.state_dict())
            torch.nn.init.zeros_(value.score.weight)
        trainer = make(
            tiny_model, tmp_path, lambda completion_ids, **_: [len(set(i)) / 6 for i in completion_ids], **changes
        )
        models = [trainer.policy_model, *([] if trainer.ref_model is None else [trainer.ref_model])]
        models += [trainer.value_model] if "value_model" in changes else []
        layers = {id(layer): layer for layer in (decoder_layers(model)[0] for model in models)}
        passes: list[int] = []
        for layer in layers.values():
            layer.mlp.register_forward_hook(lambda mlp, given, output: passes.append(output.shape[0] * output.shape[1]))
        if not keep:
            trainer.engine.memory = None
        torch.manual_seed(3)
        trainer.train()
        return trainer, sum(passes)

    kept, passed = run(keep=True)
    plain, passed_again = run(keep=False)
    rollout, expected = kept.last_rollout, plain.last_rollout
    assert rollout is not None
    assert expected is not None
    assert rollout.episodes.completion_ids == expected.episodes.completion_ids
    for name in ("logprobs", "ref_logprobs", "entropy", "values"):
        assert torch.allclose(getattr(rollout.judged, name), getattr(expected.judged, name), atol=1e-5), name
    for (name, weight), (_, other) in zip(kept.model.named_parameters(), plain.model.named_parameters(), strict=True):
        assert torch.allclose(weight, other, atol=1e-5), name
    lengths = [
        len(q) + len(r) for q, r in zip(rollout.episodes.query_ids, rollout.episodes.completion_ids, strict=True)
    ]
    block = len(lengths) * max(lengths)  # tokens, padding among them
    # transformers' generate is not listened to
    assert passed <= (block if "length_bucketing" not in kind else 2 * block)
    assert passed_again >= passed + 3 * sum(lengths)
