"""`rag-graph evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Cli = Callable[..., CompletedProcess[str]]


def test_evaluate_on_any_file(run_cli: Cli, finished: Path, tmp_path: Path) -> None:
    rows = [
        {"input": "ben chose a blue rake .", "reference": "garden"},
        {"input": "emma bought a red desk .", "reference": "office"},
        {"input": "omar bought a blue radio .", "reference": None},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = run_cli(
        "evaluate", finished, "--task", "topic", "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "out.json"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    assert {(r["metric"], r["n"]) for r in record["results"]} == {("accuracy", 2), ("macro_f1", 2)}
    assert record["without_reference"] == {"topic": 1}
    assert "topic: 1 example without a reference, not in the table" in done.stdout
    again = run_cli("evaluate", finished)
    assert again.returncode == 0, again.stderr
    stored = json.loads((finished / "results.json").read_text())["after"]["mean_task_score"]
    measured = json.loads((finished / "evaluation/test-1.json").read_text())["mean_task_score"]
    assert measured == pytest.approx(stored), "the saved policy is the one that was measured"
    (tmp_path / "bad.jsonl").write_text('{"input": "x", "reference": "kitchn"}\n')
    bad = run_cli("evaluate", finished, "--task", "topic", "--data", tmp_path / "bad.jsonl")
    assert bad.returncode == 1
    assert "bad.jsonl:1: label 'kitchn' is none of task 'topic'. Did you mean 'kitchen'?" in bad.stderr
    assert (
        "data (--data) needs a task (--task)" in run_cli("evaluate", finished, "--data", tmp_path / "rows.jsonl").stderr
    )
