"""A run that is stopped in any stage and goes on ends as the one that was not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rag_graph import Run
from rag_graph.config import RunConfig, load_config
from rag_graph.errors import DataError
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.train import how_to_go_on, resume, train

Outcome = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def config(root: Path, small: tuple[str, ...]) -> Callable[[Path], RunConfig]:
    def make(folder: Path) -> RunConfig:
        return load_config(root / "experiments/quickstart/config.yaml", [*small, f"output_dir={folder}"])

    return make


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return {name: found[name] for name in ("before", "after", "gain")}


@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        ("supervised warm-up", 11),
        ("PPO", 1),
        ("PPO", 5),
        pytest.param("evaluation before", 8, marks=pytest.mark.slow),
        pytest.param("evaluation after", 8, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_goes_on(
    config: Callable[[Path], RunConfig],
    outcome: Outcome,
    stop_in: Any,
    tmp_path: Path,
    finished_run: Path,
    stage: str,
    steps: int,
) -> None:
    plain = finished_run
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(config(folder), progress=stop_in(stage, steps))
    assert json.loads((folder / "status.json").read_text())["status"] == "interrupted"
    run = resume(folder)
    assert run.path == folder
    assert run.gain == Run(plain).gain
    assert json.loads((folder / "status.json").read_text()) == {"status": "finished"}
    assert outcome(folder) == outcome(plain)
    assert (folder / "episodes.jsonl").read_text() == (plain / "episodes.jsonl").read_text()
    assert results(folder) == results(plain)
    one, two = (load_file(path / "policy/model.safetensors") for path in (folder, plain))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert len(json.loads((folder / "manifest.json").read_text())["resumed"]) == 1
    assert not list(folder.glob("checkpoint-*")), "a finished run keeps its policy, not what it was made from"
    assert not (folder / "warm_up").exists()


def test_what_cannot_go_on_is_said(
    config: Callable[[Path], RunConfig], stop_in: Any, tmp_path: Path, finished_run: Path
) -> None:
    with pytest.raises(DataError, match="this run has finished; its results are in"):
        resume(finished_run)
    with pytest.raises(DataError, match="no such run folder"):
        resume(tmp_path / "nowhere")
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(config(folder), progress=stop_in("PPO", 3))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["topic/train"] = "other"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="the data sets have changed since the run began: topic/train"):
        resume(folder)


def test_what_to_type_is_said_with_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    assert how_to_go_on(folder, OwnParts()) == f"{folder}: stopped before it began. Start it again with its config."
    (folder / "manifest.json").write_text("{}")
    assert how_to_go_on(folder, OwnParts()).endswith(f"To go on: rag-graph train --resume '{folder}'")
    own = OwnParts({"polite": lambda episode: 1.0}, retriever=str)
    assert how_to_go_on(folder, own).endswith(f"rag_graph.resume({str(folder)!r}, scorers=..., retriever=...)")
