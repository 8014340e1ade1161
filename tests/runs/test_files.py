"""The shapes of a run's files, and what is missing in them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rag_graph.errors import DamagedFileError
from rag_graph.runs.files import (
    Manifest,
    RunFiles,
    Status,
    check_model,
    missing_updates,
    problem_of,
    problem_of_metrics,
)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"status": "finished"}, ""),
        ({"status": "finished", "more": []}, ""),
        ({"status": 1}, "status: input should be a valid string"),
        ({}, "status: field required"),
        ([], "input should be a valid dictionary"),
    ],
)
def test_a_problem_is_told_by_its_place(value: Any, problem: str) -> None:
    assert problem_of(value, Status) == problem


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"stage": "ppo", "update": 1, "a": 0.5, "b": None}, ""),
        ({"stage": "sft", "step": 10, "loss": 1.0}, ""),
        ({"update": 1}, "has no stage"),
        ({"stage": "ppo", "update": True}, "has no update, a whole number (True)"),
        ({"stage": "ppo", "update": 1, "a": "x"}, "has 'x' for 'a', not a number"),
        (
            {"stage": "ppo", "update": 1, "graph/a>b:c": 1.5},
            "has the strength 1.5 for 'graph/a>b:c', not a number from 0 to 1",
        ),
    ],
)
def test_lines_of_metrics_hold_numbers(row: dict[str, Any], problem: str) -> None:
    assert problem_of_metrics(row) == problem


@pytest.mark.parametrize(
    ("updates", "last", "problem"),
    [
        ([], None, ""),
        ([1, 2, 3], None, ""),
        ([1, 2, 3], 3, ""),
        ([1, 2], 4, "ends at update 2 of 4"),
        ([1, 3], None, "has no line of update 2"),
        ([4, 5], None, "has no line of update 1 to 3"),
        ([1, 2, 2], None, "has two lines of update 2"),
    ],
)
def test_missing_updates_are_noticed(updates: list[int], last: int | None, problem: str) -> None:
    assert missing_updates([{"update": update} for update in updates], last) == problem


def test_what_is_damaged_is_raised_or_left_out(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("[]")
    with pytest.raises(DamagedFileError, match=r"status.json: input should be a valid dictionary\. Write "):
        RunFiles(tmp_path).json("status.json", Status)
    files = RunFiles(tmp_path, skip_damaged=True)
    for _ in range(2):
        assert files.json("status.json", Status) is None
        assert files.json("manifest.json", Manifest, needed=True) is None
    assert [line.split(": ")[1].split(".")[0] for line in files.damage] == [
        "input should be a valid dictionary",
        "is missing",
    ]
    (tmp_path / "metrics.jsonl").write_text('{"stage": "ppo", "update": 1}\n{"stage": "ppo", "update": "x"}\n')
    assert files.metrics() == [{"stage": "ppo", "update": 1}]
    with pytest.raises(DamagedFileError, match=r"metrics.jsonl: line 2 has no update"):
        RunFiles(tmp_path).metrics()


def test_a_saved_model_is_looked_at_file_by_file(finished_run: Path, tmp_path: Path) -> None:
    policy = Path(shutil.copytree(finished_run / "policy", tmp_path / "policy"))
    check_model(policy)
    weights = policy / "model.safetensors"
    raw = weights.read_bytes()
    weights.write_bytes(raw[:-1])
    with pytest.raises(DamagedFileError, match=r"model.safetensors: what it holds cannot be used \(SafetensorError"):
        check_model(policy)
    weights.write_bytes(raw)
    (policy / "config.json").write_text(json.dumps([]))
    with pytest.raises(DamagedFileError, match=r"config.json: is no JSON object"):
        check_model(policy)
    encoder = tmp_path / "retriever" / "queries"
    (encoder / "1_Pooling").mkdir(parents=True)
    (encoder / "modules.json").write_text("[]")
    check_model(encoder.parent)
    os.mkfifo(encoder / "1_Pooling" / "config.json")
    with pytest.raises(DamagedFileError, match=r"1_Pooling/config.json: a folder, a pipe or a device"):
        check_model(encoder.parent)
