"""Trackers and callbacks that a config or a caller names."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerCallback

from rag_graph import train
from rag_graph.config import RunConfig, Tracker
from rag_graph.errors import ConfigError
from rag_graph.runs.ppo_arguments import ppo_arguments
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.trackers import check_trackers, run_name, tracked

QUICK = ("sft.steps=1", "ppo.updates=3", "data.train=8", "data.test=1", "report_to=[tensorboard]")


class Counting(TrainerCallback):  # type: ignore[misc]
    """Counts updates."""

    steps = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        type(self).steps += 1


def test_the_score_is_in_the_events_of_a_run(root: Path, small: tuple[str, ...], tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    Counting.steps, counting = 0, Counting()
    settings = [*small, *QUICK, f"output_dir={tmp_path / 'run'}"]
    config = root / "experiments/quickstart/config.yaml"
    run = train(config, settings, callbacks=[Counting, counting], progress=StageProgress(quiet=True))
    assert Counting.steps == 6, "a class and an object, three updates each"
    assert run.manifest["callbacks"] == ["Counting", "Counting"]
    events = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    lines = run.records()
    tasks = [name for name, task in run.stated_graph.spec.tasks.items() if task.goal > 0]
    for name in ("score", *(f"score/{task}" for task in tasks)):
        logged = [line[name] for line in lines if name in line]  # a small batch lacks a task now and then
        assert logged
        assert [one.value for one in events.Scalars(f"train/{name}")] == pytest.approx(logged)
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ, "it was set for this run alone"


def test_what_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., CompletedProcess[str]]
) -> None:
    there = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        """trackio is not there; of wandb there is the folder that it wrote earlier."""
        empty = SimpleNamespace(origin=None)
        return {"trackio": None, "wandb": empty}[name] if name in ("trackio", "wandb") else there(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    check_trackers([])
    with pytest.raises(
        ConfigError, match=r"report_to: wandb, trackio is not installed. Install it \(pip install wandb trackio\)"
    ):
        check_trackers(["wandb", "trackio"])
    with pytest.raises(ConfigError, match="report_to: trackio is not installed"):
        train(RunConfig(report_to=("trackio",), output_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
    (tmp_path / "run.yaml").write_text("report_to: [trackio]\n")
    assert "pip install trackio" in run_cli("train", tmp_path / "run.yaml", "--dry-run").stderr
    (tmp_path / "run.yaml").write_text("report_to: [mlflow]\n")
    assert "report_to.0" in run_cli("train", tmp_path / "run.yaml", "--dry-run").stderr


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_transformers_has_the_integration(tracker: Tracker, tmp_path: Path) -> None:
    """By transformers' own word on what is there, without a run."""
    from transformers import integrations

    if not getattr(integrations, f"is_{tracker}_available")():
        with pytest.raises(ConfigError, match=f"pip install {tracker}"):
            check_trackers([tracker])
        pytest.skip(f"{tracker} is not installed")
    check_trackers([tracker])
    arguments = ppo_arguments(RunConfig(report_to=(tracker,)), tmp_path, "cpu")
    (callback,) = integrations.integration_utils.get_reporting_integration_callbacks(arguments.report_to)
    assert tracker in callback.__name__.lower()


def test_each_tracker_writes_into_the_run_unless_the_environment_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    finished: list[str] = []
    module = SimpleNamespace(run=None, finish=lambda: finished.append("finished"), teardown=lambda: finished.append("torn down"))  # fmt: skip
    monkeypatch.setitem(sys.modules, "wandb", module)
    with tracked(["wandb", "trackio"], tmp_path):
        assert (os.environ["WANDB_DIR"], os.environ["TRACKIO_DIR"]) == ("/elsewhere", str(tmp_path / "trackio"))
        module.run = object()
    assert finished == ["finished", "torn down"], "the next run of this process is another run for wandb"
    assert os.environ["WANDB_DIR"] == "/elsewhere"
    assert "TRACKIO_DIR" not in os.environ
    with tracked(["wandb"], tmp_path):
        pass
    assert len(finished) == 2, "a run that was going on before is the caller's"
    with tracked([], tmp_path):
        assert "TRACKIO_DIR" not in os.environ


def test_what_trackers_call_a_run(tmp_path: Path) -> None:
    assert run_name(tmp_path / "readout=flat/seed0") == "readout=flat/seed0"
    found = ppo_arguments(RunConfig(), tmp_path / "runs/x", "cpu")
    assert (found.run_name, found.project, found.report_to) == ("runs/x", "rag-graph", [])


def test_what_is_no_callback_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"callbacks: <function .* is no callback. Give objects, or classes, that derive"
    ):
        train(RunConfig(output_dir=str(tmp_path / "run")), callbacks=[json.dumps])  # type: ignore[list-item]
    assert not (tmp_path / "run").exists()
