"""Runs as processes: the command of each, what is left to do, and exit codes."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

from rag_graph.errors import TrainingError
from rag_graph.runs import executors
from rag_graph.runs.executors import command_of, is_open, log_of, run_here, run_on_ray, shown_state
from rag_graph.runs.folder import locked


def test_a_run_starts_from_the_config_beside_it_or_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "seed0"
    run.mkdir()
    train = [sys.executable, "-m", "rag_graph", "train"]
    assert command_of(run) == [*train, str(tmp_path / "seed0.yaml")]
    (run / "manifest.json").write_text("{}")
    assert command_of(run) == [*train, "--resume", str(run)]
    assert log_of(run) == tmp_path / "seed0.log"


def test_what_is_finished_or_worked_on_is_not_open(tmp_path: Path) -> None:
    assert is_open(tmp_path)
    with locked(tmp_path):
        assert not is_open(tmp_path)
    for status, state, is_left in (("finished", "finished", False), ("failed", "failed", True)):
        (tmp_path / "status.json").write_text(json.dumps({"status": status, "host": platform.node()}))
        assert (shown_state(tmp_path), is_open(tmp_path)) == (state, is_left)
    (tmp_path / "status.json").write_text("{")
    assert shown_state(tmp_path) == "damaged"


def test_each_process_has_its_log_and_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {tmp_path / "a": 0, tmp_path / "b": 3, tmp_path / "done": 0}
    for run in codes:
        run.mkdir()
    (tmp_path / "done/status.json").write_text('{"status": "finished"}')
    monkeypatch.setattr(
        executors,
        "command_of",
        lambda run: [sys.executable, "-c", f"print({run.name!r}); raise SystemExit({codes[run]})"],
    )
    assert dict(run_here(list(codes), 2)) == codes
    assert log_of(tmp_path / "a").read_text() == "a\n"
    assert not log_of(tmp_path / "done").exists(), "what another sweep finished is not started"


def test_a_cluster_that_is_not_there_is_said_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(TrainingError, match=r"ray_address ray://127.0.0.1:1: no Ray cluster answers there"):
        next(run_on_ray([], "ray://127.0.0.1:1", 1, 0))
