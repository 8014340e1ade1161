"""One update of `GraphPPOTrainer` against one update of stock TRL 1.12, from the same weights and the same random state."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from rag_graph.ppo.episode_order import EpisodeOrder
from rag_graph.ppo.trainer import GraphPPOConfig, GraphPPOTrainer, PPOConfig, PPOTrainer

PROMPTS = [
    "the red kettle",
    "where is it ?",
    "a blue mixer from oslo",
    "good",
    "bad kettle from lima .",
    "the a",
    "is it",
    "topic ?",
]
BATCH, LENGTH = 8, 6


class TokenSumReward(torch.nn.Module):
    """Stock's kind of reward model: a backbone whose hidden state is the token id, a head that folds it into [-1, 1]."""

    base_model_prefix = "backbone"

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _IdBackbone()
        self.score = _Sine()


class _IdBackbone(torch.nn.Module):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        total = (input_ids * attention_mask).cumsum(1).float()[..., None]
        return BaseModelOutput(last_hidden_state=total, hidden_states=(total,))


class _Sine(torch.nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.sin(hidden)


def reward_like_stock(tokenizer: Any) -> Any:
    """The same numbers for our trainer: sin of the sum of all token ids up to the last token of the response."""

    def token_sum(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        encoded = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        return [
            torch.sin(torch.tensor(float(sum(p) + sum(c)))).item() for p, c in zip(encoded, completion_ids, strict=True)
        ]

    return token_sum


def arguments(folder: Path, kind: type[PPOConfig] = PPOConfig, **changes: Any) -> PPOConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": 1,
        "total_episodes": BATCH,
        "num_ppo_epochs": 3,
        "num_mini_batches": 1,
        "response_length": LENGTH,
        "stop_token": "eos",
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "num_sample_generations": 0,
        "kl_coef": 0.1,
        "vf_coef": 0.3,
        "bf16": False,
        "use_cpu": True,
        "activation_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "max_grad_norm": 0.0,  # stock does not clip
        "disable_tqdm": True,
        "seed": 5,
    }
    return kind(**{**settings, **changes})


def value_model(tokenizer: Any) -> Any:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, num_labels=1,
    )  # fmt: skip
    return LlamaForSequenceClassification(config)


def seeded(model: Any) -> Any:
    """The model, sampling from a known random state however much was drawn before."""
    generate = model.generate

    def generate_from_seed(*args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(8)
        return generate(*args, **kwargs)

    model.generate = generate_from_seed
    return model


def run_one_update(
    kind: str, tiny_model: Any, folder: Path, ends: bool = False, **changes: Any
) -> dict[str, torch.Tensor]:
    model, tokenizer = tiny_model(1)
    if ends:  # an end token that this random state does sample: one answer ends at once, one later, the others are cut
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(69)
    ours = {"kind": GraphPPOConfig, "length_bucketing": False} if kind == "ours" else {}
    args = arguments(folder, **ours, **changes)
    common = {
        "args": args,
        "processing_class": tokenizer,
        "model": seeded(model),
        "ref_model": tiny_model(2)[0],
        "value_model": value_model(tokenizer),
    }
    rows = [PROMPTS[row] for row in EpisodeOrder(args.seed, len(PROMPTS), BATCH).rows(0)]  # the same order for both
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "stock":
            encoded = Dataset.from_list(
                [{"input_ids": ids} for ids in tokenizer(rows, add_special_tokens=False)["input_ids"]]
            )
            trainer = PPOTrainer(**common, reward_model=TokenSumReward(), train_dataset=encoded, eval_dataset=encoded)
            trainer.dataloader = DataLoader(encoded, BATCH, collate_fn=trainer.data_collator)
        else:
            trainer = GraphPPOTrainer(
                **common,
                reward_funcs=reward_like_stock(tokenizer),
                train_dataset=[{"prompt": text} for text in PROMPTS],
            )
        trainer.train()
    if kind == "ours":
        assert trainer.last_rollout is not None
        assert [row["prompt"] for row in trainer.last_rollout.episodes.rows] == rows
        ended = trainer.last_rollout.ended
        assert ended.any() == ends
        assert not ended.all()
    states = {f"policy.{name}": value for name, value in trainer.policy_model.state_dict().items()}
    return states | {f"value.{name}": value for name, value in trainer.value_model.state_dict().items()}


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(
    "changes", [{}, {"kl_estimator": "k3", "missing_eos_penalty": 0.5, "temperature": 1.0}, {"learning_rate": 1e-2}]
)
def test_one_update_equals_stock(tiny_model: Any, tmp_path: Path, changes: dict[str, Any], ends: bool) -> None:
    stock = run_one_update("stock", tiny_model, tmp_path / "a", ends, **changes)
    ours = run_one_update("ours", tiny_model, tmp_path / "b", ends, **changes)
    start = {f"policy.{name}": value for name, value in tiny_model(1)[0].state_dict().items()}
    moved = max((stock[name] - start[name]).abs().max().item() for name in start)
    assert moved > 5e-4, "the update must move the weights for the comparison to mean anything"
    assert stock.keys() == ours.keys()
    worst = max((stock[name] - ours[name]).abs().max().item() for name in stock)
    assert worst < 1e-5


def test_the_comparison_notices_another_algorithm(tiny_model: Any, tmp_path: Path) -> None:
    stock = run_one_update("stock", tiny_model, tmp_path / "a")
    other = run_one_update("ours", tiny_model, tmp_path / "b", lam=0.9)
    assert max((stock[name] - other[name]).abs().max().item() for name in stock) > 1e-4


def test_deep_copies_start_equal(tiny_model: Any) -> None:
    first, second = tiny_model(1)[0], copy.deepcopy(tiny_model(1)[0])
    assert isinstance(first, LlamaForCausalLM)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
