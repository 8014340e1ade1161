"""Sizes that follow from other fields, fields that contradict each other, and arguments that stay as the caller made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph.errors import TrainingError
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import ROWS, arguments, constant


def test_the_callers_arguments_are_left_alone(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path, stop_token=None, total_episodes=None, num_train_epochs=1)
    trainer = GraphPPOTrainer(model, constant, args, ROWS, processing_class=tokenizer)
    assert trainer.args is not args
    assert (args.stop_token, args.total_episodes) == (None, None)
    assert trainer.args.total_episodes == 8
    assert trainer.engine.stop_ids == (tokenizer.eos_token_id,)


def test_sizes_follow_from_the_fields(tmp_path: Path) -> None:
    args = arguments(
        tmp_path, per_device_train_batch_size=3, gradient_accumulation_steps=4, num_mini_batches=2, total_episodes=25
    )
    assert args.world_size == 1
    assert (args.local_batch_size, args.batch_size, args.micro_batch_size) == (12, 12, 3)
    assert (args.local_mini_batch_size, args.mini_batch_size) == (6, 6)
    assert args.num_total_batches == 3, "25 episodes in updates of 12"
    args.max_steps = 7
    assert args.num_total_batches == 7


def test_sizes_count_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(
        tmp_path, per_device_train_batch_size=3, gradient_accumulation_steps=4, num_mini_batches=2, total_episodes=72
    )
    monkeypatch.setattr(GraphPPOConfig, "world_size", 2)
    assert (args.local_batch_size, args.batch_size, args.micro_batch_size) == (12, 24, 6)
    assert (args.local_mini_batch_size, args.mini_batch_size, args.num_total_batches) == (6, 12, 3)


def test_episodes_follow_from_epochs_and_rows(tmp_path: Path) -> None:
    assert arguments(tmp_path, total_episodes=None, num_train_epochs=2.5).resolved(8).total_episodes == 20
    assert arguments(tmp_path, total_episodes=5, num_train_epochs=2.5).resolved(8).total_episodes == 5
    twice = arguments(tmp_path, total_episodes=None, num_train_epochs=2.5, samples_per_prompt=2)
    assert twice.resolved(8).total_episodes == 40
    assert (twice.batch_size, twice.prompts_per_batch) == (8, 4)


def test_prompts_are_kept_where_they_come_again(tmp_path: Path) -> None:
    args = arguments(tmp_path, total_episodes=32, prompt_cache_gb=0.25)
    assert args.batch_size == 8
    assert [args.prompt_bytes(rows) for rows in (8, 16, 17, 32)] == [250_000_000, 250_000_000, 0, 0]
    assert arguments(tmp_path, total_episodes=32, prompt_cache_gb=0).prompt_bytes(8) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_mini_batches": 3}, "num_mini_batches 3 does not divide the 8 episodes"),
        ({"num_mini_batches": 0}, "num_mini_batches 0 does not divide"),
        ({"samples_per_prompt": 3}, "samples_per_prompt 3 does not divide the 8 episodes"),
        ({"samples_per_prompt": 0}, "samples_per_prompt 0 does not divide"),
        ({"stop_token_id": 7}, "stop_token and stop_token_id are both set"),
        ({"stop_token": "."}, "stop_token is '.': one of None, 'eos' is expected"),
        ({"kl_estimator": "k2"}, "kl_estimator is 'k2': one of 'k1', 'k3' is expected"),
    ],
)
def test_fields_that_contradict_each_other(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        arguments(tmp_path, **changes).resolved(8)
