"""What a checkpoint of a PPO run holds, and how a trainer takes it back.

    config.json, model.safetensors, tokenizer...    the policy (or its adapter) as `save_pretrained` writes it: loads anywhere
    critic, optimizer, scheduler, rewards, random   .json, and .safetensors for their tensors
    progress.json                                   updates and episodes done

The order of the data and the random numbers of sampling need no state: they follow from seed and update (`EpisodeOrder`). The
global random states are kept for rewards and hooks that use them, one for each process.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict
from torch import nn

from rag_graph.errors import TrainingError
from rag_graph.ppo.actor_critic import SharedValueHead
from rag_graph.ppo.checkpoints import (
    check_checkpoint,
    newest_checkpoint,
    random_state,
    restore_random_state,
    write_checkpoint,
)
from rag_graph.state_file import load_state, save_state

DIGEST_ROWS = 1000
PROGRESS = ("global_step", "epoch", "best_metric", "best_global_step", "best_model_checkpoint")


def identity(trainer: Any) -> dict[str, Any]:
    """What must agree between a checkpoint and the run that takes it."""
    model, dataset, args = trainer.engine.bare, trainer.train_dataset, trainer.args
    shapes = [f"{name}{tuple(parameter.shape)}" for name, parameter in model.named_parameters()]
    every = max(1, len(dataset) // DIGEST_ROWS)
    rows = repr(dataset.select(range(0, len(dataset), every))[:])
    return {
        "model": _digest("\n".join(shapes)),
        "reference model": _reference(trainer),
        "train_dataset": f"{len(dataset)} rows, {_digest(rows)}",
        "train_layers": args.train_layers,
        "reward_funcs": list(trainer.rewards.names),
        "seed": args.seed,
        "batch_size": args.batch_size,
        "num_processes": trainer.accelerator.num_processes,
    }


def _reference(trainer: Any) -> str:
    """A digest of what the KL is measured from: up to 64 numbers of each weight of the reference model, or of the frozen weights under
    an adapter, of the adapter as it was, and the adapter's settings."""
    policy = trainer.policy_model
    adapter = {name: str(config.to_dict()) for name, config in getattr(policy, "peft_config", {}).items()}
    source = policy if trainer.ref_model is None else trainer.ref_model
    digest = hashlib.sha256(repr(sorted(adapter.items())).encode())
    start = trainer.engine.starting_adapter
    kept = [] if start is None else [(str(place), weight) for place, weight in enumerate(start.weights)]
    for name, weight in [*source.named_parameters(), *kept]:
        if trainer.ref_model is not None or not weight.requires_grad:
            flat = weight.detach().flatten()
            digest.update(name.encode())
            digest.update(flat[:: max(1, len(flat) // 64)][:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_policy(policy: Any, tokenizer: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """The policy and its tokenizer in transformers' own layout, or the adapter in peft's."""
    policy.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


def save_checkpoint(trainer: Any) -> Path:
    """Write `checkpoint-UPDATE` in the trainer's output folder; called on every process.

    Raises:
        TrainingError: it cannot be written, on every process.
    """
    folder, step, best = Path(trainer.args.output_dir), trainer.state.global_step, trainer.state.best_model_checkpoint
    states, about = gather_object([random_state()]), trainer.identity()
    fill, limit = partial(save_trainer, trainer, random_states=states), trainer.args.save_total_limit
    written: Path = on_main(
        trainer, lambda: write_checkpoint(folder, step, fill, about, limit, [Path(best)] if best else [])
    )
    return written


def find_checkpoint(trainer: Any, wanted: bool | str | Path) -> Path:
    """The checkpoint to resume from: the one that was named, or, for True, the newest whole one in the output folder.

    Raises:
        TrainingError: it cannot be taken, or there is none.
    """
    about, folder = trainer.identity(), Path(trainer.args.output_dir)

    def find() -> Path:
        if not isinstance(wanted, bool):
            check_checkpoint(Path(wanted), about)
            return Path(wanted)
        newest = newest_checkpoint(folder, about)
        if newest is None:
            raise TrainingError(
                f"{folder}: no checkpoint to resume from. Train without resume_from_checkpoint, or name one."
            )
        return newest

    found: Path = on_main(trainer, find)
    return found


def on_main(trainer: Any, work: Callable[[], Any]) -> Any:
    """What `work` returns on the main process, on every process; a TrainingError there is raised on all, so that none waits."""
    outcome: list[Any] = [None]
    if trainer.is_world_process_zero():
        try:
            outcome = [work()]
        except TrainingError as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], TrainingError):
        raise outcome[0]
    return outcome[0]


def save_trainer(trainer: Any, folder: Path, random_states: Sequence[Any]) -> None:
    """Fill an empty folder with the whole state of a `GraphPPOTrainer`; on one process only."""
    save_policy(trainer.policy_model, trainer.processing_class, folder)
    save_state(folder, "critic", _critic(trainer.value_model).state_dict())
    save_state(folder, "optimizer", trainer.optimizer.state_dict())
    save_state(folder, "scheduler", trainer.lr_scheduler.state_dict())
    save_state(folder, "rewards", trainer.rewards.state_dict())
    save_state(folder, "extra", trainer.extra_state())
    save_state(folder, "random", list(random_states))
    state = trainer.state
    save_state(folder, "progress", {name: getattr(state, name) for name in PROGRESS})


def load_trainer(trainer: Any, folder: Path) -> None:
    """Take back what `save_trainer` wrote.

    Raises:
        TrainingError: the weights do not fit the model.
    """
    asked = list(getattr(trainer.lr_scheduler, "base_lrs", []))
    try:
        missing = load_policy(trainer.policy_model, folder, trainer.args.model_adapter_name)
        _critic(trainer.value_model).load_state_dict(load_state(folder, "critic"))
        trainer.optimizer.load_state_dict(load_state(folder, "optimizer"))
        trainer.lr_scheduler.load_state_dict(load_state(folder, "scheduler"))
        trainer.rewards.load_state_dict(load_state(folder, "rewards"))
        trainer.load_extra_state(load_state(folder, "extra"))
        progress = load_state(folder, "progress")
        restore_random_state(load_state(folder, "random")[trainer.accelerator.process_index])
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder}: does not fit this run: {error}") from None
    if missing:
        raise TrainingError(f"{folder}: does not fit this model: {', '.join(missing[:3])}.")
    kept = list(getattr(trainer.lr_scheduler, "base_lrs", []))
    if kept != asked:
        warnings.warn(
            f"{folder}: the schedule goes on with the learning rate it was written with, {kept[0]}, not {asked[0]}.",
            RuntimeWarning,
            stacklevel=3,
        )
    for name, value in progress.items():
        setattr(trainer.state, name, value)


def load_policy(policy: Any, folder: Path, adapter_name: str | None = None) -> list[str]:
    """Weights of a policy, or of its adapter, from where `save_policy` put them; names of those that did not fit."""
    if not isinstance(policy, PeftModel):
        return load_weights(policy, folder)
    name = adapter_name or str(policy.active_adapter)
    place = folder if name == "default" else folder / name  # peft's layout
    weights = load_peft_weights(str(place), device="cpu")
    return list(set_peft_model_state_dict(policy, weights, adapter_name=name).unexpected_keys)


def load_weights(model: Any, folder: Path) -> list[str]:
    """Weights of a folder that `save_pretrained` wrote, into `model`; names of those that were missing."""
    missing: list[str] = model.load_state_dict(
        type(model).from_pretrained(folder, dtype=model.dtype).state_dict()
    ).missing_keys
    return missing


def _critic(value_model: nn.Module) -> nn.Module:
    """What the value model does not share with the policy."""
    return value_model.score if isinstance(value_model, SharedValueHead) else value_model  # type: ignore[return-value]
