"""Two processes on CPU (gloo) against one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.state_file import load_state

WORKER = str(Path(__file__).with_name("worker.py"))


def launch(processes: int, folder: Path, *options: str) -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "ACCELERATE_USE_CPU": "true"}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run([*run, WORKER, str(folder), *options], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "options",
    [(), ("--lora",), ("--separate", "--sgd"), ("--top", "--sgd")],
    ids=["shared", "lora", "separate", "top layer"],
)
def test_two_processes_do_what_one_does(tmp_path: Path, options: tuple[str, ...], outcome: Any) -> None:
    # The first step of Adam makes a gradient of 1e-10 as large as any other: with a value model of its own, SGD compares gradients.
    for processes in (1, 2):
        launch(processes, tmp_path / str(processes), "--updates", "1", *options)
    one, two = (load_state(tmp_path / str(processes), "final")["weights"] for processes in (1, 2))
    assert one.keys() == two.keys()
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-5
    first, second = outcome(tmp_path / "1"), outcome(tmp_path / "2")
    assert [line["stage"] for line in first] == [line["stage"] for line in second] == ["ppo", "evaluation"]
    for a, b in zip(first, second, strict=True):
        numbers = [{k: v for k, v in line.items() if isinstance(v, int | float)} for line in (a, b)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-5, nan_ok=True)
    tables = [(tmp_path / str(processes) / "completions/update-000001.jsonl").read_text() for processes in (1, 2)]
    completions = [[json.loads(line)["completion"] for line in table.splitlines()] for table in tables]
    assert completions[0] == completions[1]
    learned = [load_state(tmp_path / str(processes), "final")["rewards"]["learner"]["seen"] for processes in (1, 2)]
    assert learned[0] == learned[1], "the reward learns from the episodes of all processes, in one order"
    assert len(learned[0]) == 8, "each once"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_save_evaluate_and_resume(tmp_path: Path, outcome: Any) -> None:
    launch(2, tmp_path / "plain", "--updates", "6")
    launch(2, tmp_path / "stopped", "--updates", "6", "--stop-at", "3")
    assert (tmp_path / "stopped" / "checkpoint-3" / "model.safetensors").is_file()
    launch(2, tmp_path / "stopped", "--updates", "6", "--resume")
    plain, resumed = (load_state(tmp_path / name, "final")["weights"] for name in ("plain", "stopped"))
    assert all(torch.equal(value, resumed[name]) for name, value in plain.items())
    assert outcome(tmp_path / "plain") == outcome(tmp_path / "stopped")
    assert [line["update"] for line in outcome(tmp_path / "plain") if line["stage"] == "evaluation"] == [4, 6]
