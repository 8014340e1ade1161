"""What a checkpoint of a PPO run holds, and how a trainer takes it back.

    config.json, model.safetensors, tokenizer...    the policy (or its adapter) as `save_pretrained` writes it: loads anywhere
    critic, optimizer, scheduler, rewards, random   .json, and .safetensors for their tensors
    progress.json                                   updates and episodes done

The order of the data and the random numbers of sampling need no state: they follow from seed and update (`EpisodeOrder`). The
global random states are kept for rewards and hooks that use them, one for each process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import load_peft_weights, set_peft_model_state_dict
from torch import nn

from rag_graph.errors import TrainingError
from rag_graph.training.actor_critic import ActorCritic, SharedValueHead
from rag_graph.training.checkpoints import load_state, restore_random_state, save_state

DIGEST_ROWS = 1000


def identity(model: ActorCritic, dataset: Dataset, seed: int, batch_size: int, num_processes: int) -> dict[str, Any]:
    """What must agree between a checkpoint and the run that takes it."""
    shapes = [f"{name}{tuple(parameter.shape)}" for name, parameter in model.named_parameters()]
    every = max(1, len(dataset) // DIGEST_ROWS)
    prompts = repr(dataset.select(range(0, len(dataset), every))["prompt"][:])
    return {
        "model": hashlib.sha256("\n".join(shapes).encode()).hexdigest()[:16],
        "train_dataset": f"{len(dataset)} rows, {hashlib.sha256(prompts.encode()).hexdigest()[:16]}",
        "seed": seed,
        "batch_size": batch_size,
        "num_processes": num_processes,
    }


def save_policy(policy: Any, tokenizer: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """The policy and its tokenizer in transformers' own layout, or the adapter in peft's."""
    policy.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


def save_trainer(trainer: Any, folder: Path, random_states: Sequence[Any]) -> None:
    """Fill an empty folder with the whole state of a `GraphPPOTrainer`; on one process only."""
    save_policy(trainer.policy_model, trainer.processing_class, folder)
    save_state(folder, "critic", _critic(trainer.value_model).state_dict())
    save_state(folder, "optimizer", trainer.optimizer.state_dict())
    save_state(folder, "scheduler", trainer.lr_scheduler.state_dict())
    save_state(folder, "rewards", trainer.rewards.state_dict())
    save_state(folder, "random", list(random_states))
    state = trainer.state
    save_state(folder, "progress", {"global_step": state.global_step, "episode": state.episode, "epoch": state.epoch})


def load_trainer(trainer: Any, folder: Path) -> None:
    """Take back what `save_trainer` wrote.

    Raises:
        TrainingError: the weights do not fit the model.
    """
    policy = trainer.policy_model
    try:
        if hasattr(policy, "peft_config"):
            missing = set_peft_model_state_dict(policy, load_peft_weights(str(folder), device="cpu")).unexpected_keys
        else:
            missing = load_weights(policy, folder)
        _critic(trainer.value_model).load_state_dict(load_state(folder, "critic"))
        trainer.optimizer.load_state_dict(load_state(folder, "optimizer"))
    except (OSError, RuntimeError, ValueError) as error:
        raise TrainingError(f"{folder}: does not fit this model: {error}") from None
    if missing:
        raise TrainingError(f"{folder}: does not fit this model: {', '.join(missing[:3])}.")
    trainer.lr_scheduler.load_state_dict(load_state(folder, "scheduler"))
    trainer.rewards.load_state_dict(load_state(folder, "rewards"))
    progress = load_state(folder, "progress")
    trainer.state.global_step, trainer.state.episode = progress["global_step"], progress["episode"]
    trainer.state.epoch = progress["epoch"]
    restore_random_state(load_state(folder, "random")[trainer.accelerator.process_index])


def load_weights(model: Any, folder: Path) -> list[str]:
    """Weights of a folder that `save_pretrained` wrote, into `model`; names of those that were missing."""
    missing: list[str] = model.load_state_dict(
        type(model).from_pretrained(folder, dtype=model.dtype).state_dict()
    ).missing_keys
    return missing


def _critic(value_model: nn.Module) -> nn.Module:
    """What the value model does not share with the policy."""
    return value_model.score if isinstance(value_model, SharedValueHead) else value_model  # type: ignore[return-value]
