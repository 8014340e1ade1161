"""Sizes that follow from other fields, fields that contradict each other, and arguments that stay as the caller made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
