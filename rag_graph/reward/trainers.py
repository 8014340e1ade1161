"""How a reward learns in a trainer that does nothing but call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed

NOT_TAUGHT = (
    "this reward is asked about another update, and the trainer has not let it learn from the one before: it does not see the reward inside what wraps it, "
    "or does not know such rewards. It learns by itself now, before it pays. What it cannot do so: tell evaluations from training (it learns from both), "
    "and put its state into checkpoints. Wrap it by a class that derives from WrappedReward, or give the trainer the callback LearningRewards(reward)."
)


def join_trainer(reward: Any, columns: Mapping[str, Any]) -> None:
    """Add the callback `LearningRewards` to the trainer that calls a reward, once for each trainer.

    TRL's GRPOTrainer and RLOOTrainer pass `log_metric`, a method of the trainer: through it the trainer is known.

    Raises:
        TrainingError: a reward that learns by a meta-gradient.
    """
    trainer = getattr(columns.get("log_metric"), "__self__", None)
    if hasattr(trainer, "callback_handler") and hasattr(trainer, "add_callback"):
        from rag_graph.ppo.callbacks import LearningRewards  # loads transformers, which such a trainer has loaded

        LearningRewards.join(reward, trainer)


def of_all_processes(kept: list[Any]) -> list[Any]:
    """What all processes kept, in their order; called on every process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return kept
    parts: list[list[Any]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, kept)
    return [one for part in parts for one in part]
