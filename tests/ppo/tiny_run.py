"""What the tests of the trainer share: a few prompts, settings of a run of one update, a trainer on a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.trainer import GraphPPOTrainer

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
ROWS = [{"prompt": text, "number": row} for row, text in enumerate(PROMPTS)]
BATCH, LENGTH = 8, 6


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Fields that TRL's `PPOConfig` has too."""
    return {
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
        **changes,
    }


def arguments(folder: Path, **changes: Any) -> GraphPPOConfig:
    return GraphPPOConfig(**settings(folder, **changes))


def make(
    tiny_model: Callable[[int], Any], folder: Path, reward: Any, rows: Any = ROWS, **changes: Any
) -> GraphPPOTrainer:
    """A trainer that clips; `changes` are arguments of the trainer or of its settings."""
    given = {
        key: changes.pop(key) for key in ("value_model", "peft_config", "reward_weights", "ref_model") if key in changes
    }
    model, tokenizer = tiny_model(1)
    args = arguments(folder, **{"max_grad_norm": 1.0, **changes})
    return GraphPPOTrainer(model, reward, args, rows, processing_class=tokenizer, **given)


def constant(
    prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any
) -> list[float | None]:
    return [1.0] * len(prompts)
