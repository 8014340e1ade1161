"""The log of the warm-up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag_graph import Run
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.warm_up import _log_to


def test_every_tenth_step_is_logged_with_a_smoothed_loss(tmp_path: Path) -> None:
    log = _log_to(tmp_path, StageProgress(quiet=True), "sft", smoothed_over=4)
    for step in range(1, 26):
        log(step, float(step))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [
        {"stage": "sft", "step": 10, "loss": pytest.approx((7 + 8 + 9 + 10) / 4)},
        {"stage": "sft", "step": 20, "loss": pytest.approx((17 + 18 + 19 + 20) / 4)},
    ]


def test_a_finished_run_keeps_the_log_and_not_the_weights(finished_run: Path) -> None:
    assert list(Run(finished_run).metrics("sft").index) == [10]
    assert not (finished_run / "warm_up").exists()
