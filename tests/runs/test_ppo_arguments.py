"""The arguments of PPO follow from the config."""

from __future__ import annotations

from pathlib import Path

from rag_graph.config import load_config
from rag_graph.runs.ppo_arguments import ppo_arguments


def test_batches_and_episodes(tmp_path: Path) -> None:
    config = load_config(None, ["ppo.updates=7", "ppo.batch_size=32", "ppo.num_mini_batches=4", "seed=5"])
    found = ppo_arguments(config, tmp_path, "cpu")
    assert found.total_episodes == 7 * 32
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (8, 4)
    assert found.num_mini_batches == 4
    assert found.warmup_steps == 1, "a quarter of the updates, five at most"
    assert (found.seed, found.use_cpu, found.output_dir) == (5, True, str(tmp_path))
    assert found.response_length == config.model.max_new_tokens


def test_checkpoints_only_where_they_are_wanted(tmp_path: Path) -> None:
    for every, strategy in ((0, "no"), (3, "steps")):
        found = ppo_arguments(load_config(None, [f"ppo.checkpoint_every={every}"]), tmp_path, "cpu")
        assert found.save_strategy == strategy
        assert found.save_steps == max(1, every)
