"""The models of a run: the first ratio is 1, the reference is the model as it was given, trained weights are float32."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import FalconConfig, FalconForCausalLM, GPT2Config, GPT2LMHeadModel

from rag_graph.errors import ModelError
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.models import StartingAdapter, freeze_value_trunk, shared_trunk
from rag_graph.ppo.trainer import GraphPPOTrainer
from rag_graph.ppo.trainer_state import identity

ROWS = [{"prompt": text} for text in ("the red kettle", "where is it ?", "a blue mixer from oslo", "good")] * 2
LORA = {"task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj", "v_proj"]}


def variety(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(len(set(ids))) for ids in completion_ids]


def trainer_of(model: Any, tokenizer: Any, folder: Path, peft_config: Any = None, **changes: Any) -> GraphPPOTrainer:
    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "total_episodes": 8, "num_ppo_epochs": 1, "response_length": 6, "bf16": False,
        "use_cpu": True, "num_sample_generations": 0, "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "learning_rate": 1e-3,
        "seed": 5, **changes,
    }  # fmt: skip
    return GraphPPOTrainer(
        model, variety, GraphPPOConfig(**settings), ROWS, processing_class=tokenizer, peft_config=peft_config
    )


def gpt2(tokenizer: Any) -> Any:
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=128, eos_token_id=1)
    return GPT2LMHeadModel(config)


def falcon(tokenizer: Any) -> Any:
    shape = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return FalconForCausalLM(
        FalconConfig(**shape, alibi=False, eos_token_id=1, attention_dropout=0.1, hidden_dropout=0.1)
    )


DROPOUT: dict[str, tuple[Callable[..., Any], Any]] = {
    "attention_dropout": (lambda tokenizer, llama: llama(tokenizer, attention_dropout=0.1), None),
    "GPT-2": (lambda tokenizer, llama: gpt2(tokenizer), None),
    "read from the config": (lambda tokenizer, llama: falcon(tokenizer), None),
    "lora_dropout": (lambda tokenizer, llama: llama(tokenizer), LoraConfig(**LORA, lora_dropout=0.5)),
}


@pytest.mark.parametrize("case", DROPOUT)
def test_the_first_ratio_is_one(tiny_model: Any, make_llama: Any, tmp_path: Path, case: str) -> None:
    _, tokenizer = tiny_model(1)
    make, peft_config = DROPOUT[case]
    trainer = trainer_of(make(tokenizer, make_llama), tokenizer, tmp_path, peft_config)
    trainer.train()
    assert trainer.last_metrics["val/ratio"] == pytest.approx(1.0, abs=1e-6)
    assert trainer.last_metrics["objective/kl"] == pytest.approx(0.0, abs=1e-5)
    assert trainer.last_metrics["grad_norm"] > 0


def trained_adapter(model: Any, **changes: Any) -> PeftModel:
    adapted = get_peft_model(model, LoraConfig(**{**LORA, **changes}))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
    return adapted


def test_the_reference_of_a_trained_adapter_is_that_adapter(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    policy = trained_adapter(model)
    trainer = trainer_of(policy, tokenizer, tmp_path, total_episodes=24, learning_rate=1e-2)
    start = trainer.engine.starting_adapter
    assert start is not None
    given = [weight.clone() for weight in start.weights]
    kls = []
    trainer.after_update = lambda rollout: kls.append(rollout.kl.sum(1).mean().item()) or {}  # type: ignore[method-assign,func-returns-value]
    trainer.train()
    assert kls[0] == pytest.approx(0.0, abs=1e-5)
    assert abs(kls[-1]) > 1e-3, "the policy moves away from it"
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    assert any(not torch.equal(one, other) for one, other in zip(given, trained, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(given, start.weights, strict=True))


def test_another_adapter_makes_another_reference(tiny_model: Any, tmp_path: Path) -> None:
    tokenizer = tiny_model(1)[1]
    one = identity(trainer_of(trained_adapter(tiny_model(1)[0]), tokenizer, tmp_path))
    again = identity(trainer_of(trained_adapter(tiny_model(1)[0]), tokenizer, tmp_path))
    other = trained_adapter(tiny_model(1)[0])
    with torch.no_grad():
        for name, weight in other.named_parameters():
            weight.mul_(2.0 if "lora_B" in name else 1.0)
    assert one["reference model"] == again["reference model"]
    assert one["reference model"] != identity(trainer_of(other, tokenizer, tmp_path))["reference model"]


def test_a_fresh_adapter_needs_no_copy(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    assert trainer_of(model, tokenizer, tmp_path, LoraConfig(**LORA)).engine.starting_adapter is None


def test_an_initialisation_that_moves_the_base_is_seen(tiny_model: Any, tmp_path: Path) -> None:
    """PiSSA takes its adapter out of the base: switched off, it is another model."""
    model, tokenizer = tiny_model(1)
    trainer = trainer_of(model, tokenizer, tmp_path, LoraConfig(**LORA, init_lora_weights="pissa"))
    trainer.train()
    assert trainer.last_metrics["objective/kl"] == pytest.approx(0.0, abs=1e-4)


def test_weights_are_put_back_after_an_error(tiny_model: Any) -> None:
    policy = trained_adapter(tiny_model(1)[0])
    start = StartingAdapter(policy)
    moved = [weight for weight in policy.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in moved:
            weight.add_(1.0)
    expected = [weight.clone() for weight in moved]
    with pytest.raises(ZeroDivisionError), start.in_place():
        torch.equal(moved[0], start.weights[0]) and 1 / 0
    assert all(torch.equal(one, other) for one, other in zip(moved, expected, strict=True))


def test_an_adapter_that_was_loaded_to_be_used_is_refused(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    with pytest.raises(ModelError, match="no weight is trainable"):
        trainer_of(trained_adapter(model, inference_mode=True), tokenizer, tmp_path)


def test_layers_that_the_model_lacks_are_refused(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    with pytest.raises(ModelError, match="the adapter does not fit LlamaForCausalLM"):
        trainer_of(model, tokenizer, tmp_path, LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"]))


def test_small_steps_move_weights_that_came_in_bfloat16(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    with pytest.warns(
        RuntimeWarning, match="trained weights in bfloat16, in which small steps vanish: they are float32"
    ):
        trainer = trainer_of(model.to(torch.bfloat16), tokenizer, tmp_path, learning_rate=1e-6)
    before = {name: weight.detach().clone() for name, weight in trainer.policy_model.named_parameters()}
    assert {weight.dtype for weight in before.values()} == {torch.float32}
    trainer.train()
    after = dict(trainer.policy_model.named_parameters())
    layer = "model.layers.0.self_attn.q_proj.weight"
    assert (before[layer] != after[layer]).float().mean() > 0.9


def test_an_adapter_on_a_bfloat16_base_learns_in_float32(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    trainer = trainer_of(model.to(torch.bfloat16), tokenizer, tmp_path, LoraConfig(**LORA))
    trainer.train()
    dtypes = {weight.dtype for weight in trainer.policy_model.parameters() if weight.requires_grad}
    assert dtypes == {torch.float32}
    assert {weight.dtype for weight in trainer.policy_model.parameters()} == {torch.float32, torch.bfloat16}


def test_a_copy_as_reference_holds_the_very_weights_that_are_not_trained(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    trainer = trainer_of(model, tokenizer, tmp_path, train_layers=1)
    for (name, own), (_, kept) in zip(model.named_parameters(), trainer.ref_model.named_parameters(), strict=True):
        assert (own is kept) == (".layers.1." not in name), name
        assert not kept.requires_grad
    before = {name: weight.clone() for name, weight in trainer.ref_model.named_parameters()}
    trainer.train()
    assert all(torch.equal(before[name], weight) for name, weight in trainer.ref_model.named_parameters())


def test_a_trained_adapter_whose_lower_part_stays_is_the_reference(tiny_model: Any, tmp_path: Path) -> None:
    """Only below the top the adapter says something: switched off, the policy would be another model."""
    base, tokenizer = tiny_model(1)
    model = get_peft_model(base, LoraConfig(**LORA))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers.0" in name and "lora_B" in name:
                weight.normal_()
    trainer = trainer_of(model, tokenizer, tmp_path, train_layers=1)
    trainer.train()
    assert trainer.last_rollout is not None
    assert trainer.last_rollout.kl.abs().max() < 1e-5


def test_another_value_model_than_a_copy_learns_as_a_whole(tiny_model: Any, tmp_path: Path) -> None:
    base, other = tiny_model(1)[0], tiny_model(2)[0]
    assert shared_trunk(base, other, 1) is None
    assert shared_trunk(base, copy.deepcopy(base), 1) is not None
    assert shared_trunk(base, copy.deepcopy(base), None) is None
    other.score = torch.nn.Linear(32, 1)
    freeze_value_trunk(base, other, 1)
    assert all(weight.requires_grad for weight in other.parameters())
    alike = copy.deepcopy(base)
    alike.score = torch.nn.Linear(32, 1)
    freeze_value_trunk(base, alike, 1)
    learns = {name for name, weight in alike.named_parameters() if weight.requires_grad}
    assert learns == {name for name, _ in alike.named_parameters() if "layers.1" in name or "score" in name}
