"""Answers to held-out prompts during a PPO run, and which evaluation was the best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset

from rag_graph.errors import TrainingError
from rag_graph.ppo.callbacks import write_completions
from rag_graph.ppo.episode_order import rows_at
from rag_graph.ppo.rollout import completion_table, table_means


def answer_held_out(trainer: Any, rows: Dataset, prefix: str) -> dict[str, float]:
    """Answer `rows` greedily, shared by all processes, and score the answers.

    The table of answers goes to `completions/PREFIX-UPDATE.jsonl`.

    Returns:
        means over the rows, each name with `PREFIX_` before it: of the table, and what the rewards measure, such as `PREFIX_score`.
    """
    accelerator, names, stop_ids = trainer.accelerator, trainer.rewards.names, trainer.engine.stop_ids
    mine, size = (
        list(range(accelerator.process_index, len(rows), accelerator.num_processes)),
        trainer.args.eval_batch_size,
    )
    table: list[dict[str, Any]] = []
    for start in range(0, len(mine), size):
        batch = trainer.prepare_batch(rows_at(rows, mine[start : start + size]))
        episodes = trainer.answer(batch, greedy=True)
        longest = max(1, *map(len, episodes.completion_ids))
        scored = trainer.rewards.score(batch, episodes.completions, episodes.completion_ids, longest, trainer.state)
        table += completion_table(episodes, scored, names, stop_ids)
    measured = trainer.rewards.measure(gather_object)
    table = gather_object(table)
    if trainer.is_world_process_zero():
        write_completions(Path(trainer.args.output_dir), f"{prefix}-{trainer.state.global_step:06d}", table)
    return {f"{prefix}_{name}": value for name, value in {**table_means(table, names), **measured}.items()}


def is_best(metrics: dict[str, float], args: Any, state: Any) -> bool:
    """Whether an evaluation is the best so far by `args.metric_for_best_model`; `state` keeps the best number and its update.

    Raises:
        TrainingError: the evaluation has no such metric.
    """
    if args.metric_for_best_model is None:
        return False
    name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
    if name not in metrics:
        raise TrainingError(
            f"metric_for_best_model is {args.metric_for_best_model}, and an evaluation has no {name}. One of these is expected: "
            f"{', '.join(metrics)}."
        )
    sign, best = (1 if args.greater_is_better else -1), state.best_metric
    if not sign * metrics[name] > (-math.inf if best is None else sign * best):
        return False
    state.best_metric = metrics[name]
    state.best_global_step = state.global_step
    return True
